//! The committed PTX belongs to its source: it records the source's hash, and where there is a clang that can, it is compiled
//! anew and compared. `GPUBUF_BLESS=1` writes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const FOLDER: &str = "src/backend/cuda/kernels";

/// FNV-1a: told apart are texts, not adversaries.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn sources() -> Vec<PathBuf> {
    let files = fs::read_dir(FOLDER).expect("the folder of the kernels").map(|entry| entry.expect("a file").path());
    let sources: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|end| end == "cu")).collect();
    assert!(!sources.is_empty(), "{FOLDER} has no source");
    sources
}

/// The compiler, if it is here and makes PTX.
fn compiler() -> Option<String> {
    let ask = |argument| Command::new("clang").arg(argument).output().ok().filter(|output| output.status.success());
    let targets = String::from_utf8(ask("--print-targets")?.stdout).ok()?;
    let version = String::from_utf8(ask("--version")?.stdout).ok()?;
    targets.contains("nvptx64").then(|| version.lines().next().unwrap_or_default().trim().to_owned())
}

/// For the oldest GPU of CUDA 12, in the PTX of CUDA 11.0: every driver since 12.0 compiles it for its GPU.
fn compile(source: &Path) -> String {
    let arguments = ["-x", "cuda", "--cuda-device-only", "-nocudainc", "-nocudalib", "--cuda-gpu-arch=sm_52", "-O3"];
    let output = Command::new("clang")
        .args(arguments)
        .args(["-Xclang", "-target-feature", "-Xclang", "+ptx70", "-Werror", "-S", "-o", "-"])
        .arg(source)
        .output()
        .expect("clang runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("PTX is text")
}

fn first_line(source: &Path, text: &str, compiler: &str) -> String {
    let name = source.file_name().and_then(|name| name.to_str()).expect("a name");
    format!("// {name}, hash {:016x}, compiled by {compiler}\n", hash(text))
}

#[test]
fn the_ptx_belongs_to_its_source() {
    for source in sources() {
        let text = fs::read_to_string(&source).expect("a source");
        let target = source.with_extension("ptx");
        let compiler = compiler();
        if std::env::var_os("GPUBUF_BLESS").is_some() {
            let compiler = compiler.as_deref().expect("a clang that makes PTX");
            fs::write(&target, first_line(&source, &text, compiler) + &compile(&source)).expect("the PTX is written");
        }
        let committed = fs::read_to_string(&target).expect("the committed PTX");
        let recorded = committed.lines().next().and_then(|line| line.split("compiled by ").nth(1)).unwrap_or_default();
        let (head, rest) = committed.split_at(committed.find('\n').map_or(0, |end| end + 1));
        let hint = format!("{} is not of its source: GPUBUF_BLESS=1 cargo test --test kernels", target.display());
        assert_eq!(head, first_line(&source, &text, recorded), "{hint}");
        let target = "\n.version 7.0\n.target sm_52\n.address_size 64\n";
        assert!(rest.contains(target), "a driver of CUDA 12.0 takes it, whatever its GPU");
        // Another compiler makes other text of the same source.
        if let Some(compiler) = compiler {
            let anew = compile(&source);
            assert!(compiler != recorded || anew == rest, "{hint}");
        }
    }
}
