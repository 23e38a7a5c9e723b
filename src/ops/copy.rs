//! The copy loop that staging uses.
//!
//! On processors with fast short `rep movsb`, memcpy falls from tens of GB/s to about 2 GB/s where target and source differ by
//! 1 to 63 bytes modulo 4 KiB and the length is between 2 KiB and about 1 MiB. Slots at fixed offsets meet sources at any
//! offset, so some layouts would hit it in every step. There, and only there, a vector loop copies instead.

/// Copies `bytes` bytes.
///
/// # Safety
/// Both ranges are valid for their access and do not overlap.
#[inline]
pub unsafe fn copy(target: *mut u8, source: *const u8, bytes: usize) {
    #[cfg(target_arch = "x86_64")]
    if is_slow_for_memcpy(target as usize, source as usize, bytes) && std::is_x86_feature_detected!("avx2") {
        // SAFETY: the caller's promise, and AVX2 was found.
        return unsafe { copy_avx2(target, source, bytes) };
    }
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(source, target, bytes) };
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn is_slow_for_memcpy(target: usize, source: usize, bytes: usize) -> bool {
    let ahead = target.wrapping_sub(source) & 4095;
    ahead.wrapping_sub(1) < 63 && (2048..=1 << 20).contains(&bytes)
}

/// # Safety
/// As [`copy`], for at least 128 bytes, on a processor with AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
unsafe fn copy_avx2(target: *mut u8, source: *const u8, bytes: usize) {
    use std::arch::x86_64::{__m256i, _mm256_loadu_si256, _mm256_storeu_si256};
    // SAFETY: every access is at `at <= bytes - 128`, 128 bytes long: inside both ranges. The last one overlaps the one
    // before it where the length is no multiple of 128, with the same bytes.
    unsafe {
        let mut at = 0;
        loop {
            let from = source.add(at).cast::<__m256i>();
            let to = target.add(at).cast::<__m256i>();
            let a = _mm256_loadu_si256(from);
            let b = _mm256_loadu_si256(from.add(1));
            let c = _mm256_loadu_si256(from.add(2));
            let d = _mm256_loadu_si256(from.add(3));
            _mm256_storeu_si256(to, a);
            _mm256_storeu_si256(to.add(1), b);
            _mm256_storeu_si256(to.add(2), c);
            _mm256_storeu_si256(to.add(3), d);
            if at == bytes - 128 {
                return;
            }
            at = (at + 128).min(bytes - 128);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::copy;

    #[test]
    fn every_length_and_offset_is_copied_exactly() {
        let source: Vec<u8> = (0..20_000u32).map(|i| (i * 7 + i / 256) as u8).collect();
        for bytes in [0, 1, 127, 2047, 2048, 2049, 2175, 2176, 4096, 9_999] {
            for ahead in [0, 1, 24, 31, 63, 64, 100] {
                let mut target = vec![0xEEu8; 20_000];
                // Both buffers are looked at from the same page offset, so that `ahead` is their distance.
                let from = source.as_ptr().align_offset(4096);
                let to = target.as_ptr().align_offset(4096) + ahead;
                // SAFETY: both ranges end before 20,000.
                unsafe { copy(target.as_mut_ptr().add(to), source.as_ptr().add(from), bytes) };
                assert_eq!(target[to..to + bytes], source[from..from + bytes], "{bytes} bytes, {ahead} ahead");
                assert!(
                    target[..to].iter().chain(&target[to + bytes..]).all(|b| *b == 0xEE),
                    "nothing else is touched"
                );
            }
        }
    }
}
