//! Compiling and running a C program.

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

fn compile(name: &str, source: &Path, include: &Path) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = library();
    let program = folder.join(name);
    let target = format!("{}-unknown-linux-gnu", env::consts::ARCH);
    let compiler =
        cc::Build::new().cargo_metadata(false).target(&target).host(&target).opt_level(1).debug(true).get_compiler();
    let out = compiler
        .to_command()
        .args(["-std=gnu11", "-Wall", "-Wextra", "-Werror", "-pthread"])
        .arg("-I")
        .arg(include)
        .arg("-I")
        .arg(root.join("tests/c"))
        .arg(source)
        .arg("-o")
        .arg(&program)
        .arg("-L")
        .arg(&folder)
        .args(["-Wl,--as-needed", "-lgpubuf", "-ldl"])
        .arg(format!("-Wl,-rpath,{}", folder.display()))
        .output()
        .expect("a C compiler");
    assert!(out.status.success(), "{name} does not compile:\n{}", String::from_utf8_lossy(&out.stderr));
    program
}

fn check(name: &str, program: &Path, environment: &[(&str, PathBuf)]) -> String {
    // A program that loads the library itself finds its path here.
    let mut command = Command::new(program);
    command.arg(library().join("libgpubuf.so")).envs(environment.iter().map(|(name, value)| (name, value)));
    let out = command.output().expect("the program runs");
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
pub fn run_against(include: &Path, name: &str, source: &Path, environment: &[(&str, PathBuf)]) {
    check(name, &compile(name, source, include), environment);
}

/// Compiles and runs a program made by a test.
#[allow(dead_code)]
pub fn run_generated(name: &str, text: &str) {
    output_of_generated(name, text, &include());
}

/// As [`run_generated`], with the header in a folder; what the program wrote.
#[allow(dead_code)]
pub fn output_of_generated(name: &str, text: &str, include: &Path) -> String {
    let source = library().join(format!("{name}.c"));
    fs::write(&source, text).expect("a source file");
    check(name, &compile(name, &source, include), &[])
}
