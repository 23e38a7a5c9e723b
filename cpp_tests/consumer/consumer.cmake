# The part that the CMake consumers share: the program, against the library named by GPUBUF_TARGET.
set(GPUBUF_TARGET gpubuf::gpubuf CACHE STRING "gpubuf::gpubuf (shared) or gpubuf::static")
add_executable(consumer "${CMAKE_CURRENT_LIST_DIR}/main.cpp")
target_compile_features(consumer PRIVATE cxx_std_17)
target_compile_options(consumer PRIVATE -Wall -Wextra -Werror)
target_link_libraries(consumer PRIVATE "${GPUBUF_TARGET}")
