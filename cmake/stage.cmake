# Puts what cargo built in FROM under its versioned names into TO, leaving what is up to date alone.
# Called by the target gpubuf_cargo with FROM, TO, VERSION, ABI and STRIP.
cmake_minimum_required(VERSION 3.20)

set(shared "libgpubuf.so.${VERSION}")
file(MAKE_DIRECTORY "${TO}")

# The staged archive is stripped, so what it was made from is told by a hash beside it.
function(changed name to_name out)
  file(SHA256 "${FROM}/${name}" now)
  set(before "")
  if(EXISTS "${TO}/${to_name}" AND EXISTS "${TO}/${to_name}.sha256")
    file(READ "${TO}/${to_name}.sha256" before)
  endif()
  set(${out} FALSE PARENT_SCOPE)
  if(NOT now STREQUAL before)
    set(${out} TRUE PARENT_SCOPE)
    set(hash "${now}" PARENT_SCOPE)
  endif()
endfunction()

changed(libgpubuf.so "${shared}" is_new)
if(is_new)
  configure_file("${FROM}/libgpubuf.so" "${TO}/${shared}" COPYONLY)
  file(WRITE "${TO}/${shared}.sha256" "${hash}")
endif()

# Most of the archive is debug information of the Rust standard library.
changed(libgpubuf.a libgpubuf.a is_new)
if(is_new)
  configure_file("${FROM}/libgpubuf.a" "${TO}/libgpubuf.a" COPYONLY)
  if(STRIP)
    execute_process(COMMAND "${STRIP}" --strip-debug "${TO}/libgpubuf.a" RESULT_VARIABLE failed)
    if(failed)
      message(FATAL_ERROR "${STRIP} --strip-debug ${TO}/libgpubuf.a failed: ${failed}")
    endif()
  endif()
  file(WRITE "${TO}/libgpubuf.a.sha256" "${hash}")
endif()

# The linker looks for .so, the loader for the SONAME. A link that is right keeps its time stamp.
function(link_to name target)
  set(found "")
  if(IS_SYMLINK "${TO}/${name}")
    file(READ_SYMLINK "${TO}/${name}" found)
  endif()
  if(NOT found STREQUAL target)
    file(CREATE_LINK "${target}" "${TO}/${name}" SYMBOLIC)
  endif()
endfunction()
link_to("libgpubuf.so.${ABI}" "${shared}")
link_to("libgpubuf.so" "libgpubuf.so.${ABI}")
