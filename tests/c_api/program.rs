//! Compiling and running a program in C or C++.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// A folder with the shared library of this build under the name that programs look for.
fn library() -> PathBuf {
    let test = env::current_exe().expect("this test has a path");
    let found = [test.parent(), test.parent().and_then(Path::parent)]
        .into_iter()
        .flatten()
        .map(|folder| folder.join("libgpubuf.so"))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no libgpubuf.so beside {}", test.display()));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c_api");
    fs::create_dir_all(&folder).expect("a folder for the programs");
    let abi = concat!("libgpubuf.so.", env!("CARGO_PKG_VERSION_MAJOR"), ".", env!("CARGO_PKG_VERSION_MINOR"));
    for name in ["libgpubuf.so", abi] {
        // Tests run at the same time: each puts its own link in place in one step.
        let link = folder.join(name);
        let fresh = folder.join(format!("{name}.{:?}", std::thread::current().id()));
        let _ = fs::remove_file(&fresh);
        std::os::unix::fs::symlink(&found, &fresh).expect("a link to the library");
        fs::rename(&fresh, &link).expect("a link to the library");
    }
    folder
}

/// The compiler for a source, by how its name ends, with what all programs are compiled with.
fn compiler(source: &Path, include: &Path) -> Command {
    let cpp = source.extension().is_some_and(|end| end == "cpp");
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let mut build = cc::Build::new();
    build.cargo_metadata(false).cpp(cpp).target(&target).host(&target).opt_level(if cpp { 0 } else { 1 }).debug(!cpp);
    let mut command = build.get_compiler().to_command();
    command
        .arg(if cpp { "-std=c++17" } else { "-std=gnu11" })
        .args(["-Wall", "-Wextra", "-Werror", "-pthread"])
        .arg("-I")
        .arg(include)
        .arg("-I")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c"))
        .arg(source);
    command
}

fn finish(name: &str, mut compiler: Command) {
    let out = compiler.output().expect("a compiler for C and C++");
    assert!(out.status.success(), "{name} does not compile:\n{}", String::from_utf8_lossy(&out.stderr));
}

fn compile(name: &str, source: &Path, include: &Path) -> PathBuf {
    let folder = library();
    let program = folder.join(name);
    let mut compiler = compiler(source, include);
    compiler
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(&folder)
        .args(["-Wl,--as-needed", "-lgpubuf", "-ldl"])
        .arg(format!("-Wl,-rpath,{}", folder.display()));
    finish(name, compiler);
    program
}

fn written(file: &str, text: &str) -> PathBuf {
    let source = library().join(file);
    fs::write(&source, text).expect("a source file");
    source
}

fn check(name: &str, program: &Path, environment: &[(&str, PathBuf)]) -> String {
    // A program that loads the library itself finds its path here. What it writes goes where it is.
    let mut command = Command::new(program);
    command
        .current_dir(library())
        .arg(library().join("libgpubuf.so"))
        .envs(environment.iter().map(|(name, value)| (name, value)));
    let out = loop {
        match command.output() {
            // A child that another test starts at this moment has the file open still, as the linker wrote it.
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => std::thread::yield_now(),
            out => break out.expect("the program runs"),
        }
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success(), "{name}: {}\n{stdout}{stderr}", out.status);
    stdout.into_owned()
}

/// The folder of the header.
fn include() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("include")
}

/// Compiles and runs tests/c/NAME.c; it must exit with 0.
#[allow(dead_code)]
pub fn run(name: &str) {
    run_with(name, &[]);
}

/// As [`run`], with variables of its own.
#[allow(dead_code)]
pub fn run_with(name: &str, environment: &[(&str, PathBuf)]) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/c/{name}.c"));
    run_against(&include(), name, &source, environment);
}

/// Compiles a program with the header in a folder, and runs it with the library of this build.
#[allow(dead_code)]
pub fn run_against(include: &Path, name: &str, source: &Path, environment: &[(&str, PathBuf)]) {
    check(name, &compile(name, source, include), environment);
}

/// Compiles and runs a program made by a test; `file` is the name of a source.
#[allow(dead_code)]
pub fn run_generated(file: &str, text: &str, environment: &[(&str, PathBuf)]) {
    let name = file.replace('.', "_");
    check(&name, &compile(&name, &written(file, text), &include()), environment);
}

/// What a program made by a test writes, in C, with the header in a folder.
#[allow(dead_code)]
pub fn output_of_generated(name: &str, text: &str, include: &Path) -> String {
    check(name, &compile(name, &written(&format!("{name}.c"), text), include), &[])
}
