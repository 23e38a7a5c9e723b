//! Processes of their own, which say what they were calling when they die.

use std::cell::UnsafeCell;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

struct Now(UnsafeCell<[u8; 256]>);

// SAFETY: written by the one thread that calls; read where that has died, for people.
unsafe impl Sync for Now {}

static NOW: Now = Now(UnsafeCell::new([0; 256]));
static LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Tells what is called next.
pub fn calling(function: &str, what: &str) {
    // SAFETY: only the calling thread writes.
    let now = unsafe { &mut *NOW.0.get() };
    let mut at = 0;
    for byte in function.bytes().chain(": ".bytes()).chain(what.bytes()).take(now.len() - 1) {
        now[at] = byte;
        at += 1;
    }
    now[at] = b'\n';
    LENGTH.store(at + 1, Ordering::SeqCst);
}

extern "C" fn dying(signal: i32) {
    // SAFETY: only what a signal handler may call.
    unsafe {
        let text = if signal == libc::SIGALRM { &b"took too long: "[..] } else { &b"died in "[..] };
        libc::write(2, text.as_ptr().cast(), text.len());
        libc::write(2, NOW.0.get().cast(), LENGTH.load(Ordering::SeqCst));
        libc::signal(signal, libc::SIG_DFL);
        libc::raise(signal);
    }
}

/// Runs the calling test in a process of its own, on each backend: true there.
pub fn is_alone(test: &str) -> bool {
    is_alone_and_says(test, "1 passed")
}

/// As [`is_alone`]; the process has to say this.
pub fn is_alone_and_says(test: &str, says: &str) -> bool {
    if std::env::var_os("GPUBUF_ALONE").is_some() {
        for signal in [libc::SIGALRM, libc::SIGSEGV, libc::SIGBUS, libc::SIGABRT, libc::SIGILL] {
            // SAFETY: the handler does only what a handler may.
            unsafe { libc::signal(signal, dying as *const () as usize) };
        }
        // SAFETY: no call of this process takes so long.
        unsafe { libc::alarm(600) };
        return true;
    }
    for backend in ["host", "cuda"] {
        if std::env::var("MISUSE_BACKEND").is_ok_and(|only| only != backend) {
            continue;
        }
        let output = Command::new(std::env::current_exe().expect("the test's path"))
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env("GPUBUF_BACKEND", backend)
            .env("GPUBUF_CUDA_DRIVER", crate::driver::library())
            .env("GPUBUF_HOST_DEVICE_MEMORY", (64u64 << 20).to_string())
            .env("GPUBUF_HOST_PINNED_MEMORY", (64u64 << 20).to_string())
            .env("GPUBUF_ALONE", "1")
            .output()
            .expect("a process");
        let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        for line in text.lines().filter_map(|line| line.split_once("# ")) {
            println!("{backend}: {}", line.1);
        }
        assert!(
            output.status.success() && text.contains("1 passed") && text.contains(says),
            "{test} on {backend}: {}\n{text}",
            output.status
        );
    }
    false
}
