//! What a kernel sees is the truth of its publish, whatever the host writes meanwhile, with streams that are held shut.

mod common;
#[allow(dead_code)]
#[path = "stress/kit.rs"]
mod kit;

use common::{hold, status};
use gpubuf::config::{ALL, Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::error::Status;
use gpubuf::fence::Access;
use gpubuf::lease::Twin;
use gpubuf::pool::{Pool, PoolOptions};
use gpubuf::sync::Arc;
use gpubuf::tensor::{Tensor, TensorOptions};
use kit::{Random, Rig, STREAMS};

const BYTES: u64 = 512;

#[test]
fn every_kernel_sees_the_truth_of_its_publish() {
    for seed in 0..6 {
        run(seed, seed % 2 == 1);
    }
}

fn open(stream: &gpubuf::fence::Timeline) {
    common::kit(stream).release().expect("a release");
}

fn run(seed: u64, twin: bool) {
    let mut random = Random::new(seed);
    let rig = Rig::new(seed);
    let (placement, kind) = if twin { (Placement::Pinned, Twin::Eager) } else { (Placement::Uva, Twin::Never) };
    let options = PoolOptions { twin: kind, ..PoolOptions::new(placement, BYTES, 4) };
    let pool = Pool::create(&rig.device, options).expect("a pool");
    let shape = Shape::new(&[BYTES]).expect("a shape");
    let max_blocks = 1 + random.below(4) as u32;
    let options = TensorOptions { dtype: Dtype::U8, shape, max_blocks, label: String::new() };
    let tensor = Tensor::create(&pool, options).expect("a tensor");
    let mut truth = vec![0u8; BYTES as usize];
    let mut shut = [false; STREAMS as usize];
    let mut refused = 0;
    for step in 0..400u64 {
        for _ in 0..random.below(4) {
            let first = random.below(BYTES);
            let count = random.below((BYTES - first).min(40) + 1);
            change(&tensor, &mut truth, &mut random, first, count, step as u8);
        }
        let which = random.below(STREAMS) as usize;
        if random.below(3) == 0 {
            if shut[which] {
                // Not waited for: it may be behind another one that is shut.
                open(&rig.streams[which]);
            } else {
                hold(&rig.streams[which]);
            }
            shut[which] = !shut[which];
        }
        let users = &rig.streams[which..(which + 1 + random.below(2) as usize).min(STREAMS as usize)];
        match tensor.publish(users, Access::Read, Timeout::Try) {
            Ok(address) => {
                let user = &users[random.below(users.len() as u64) as usize];
                rig.look(user, address, &truth);
            }
            Err(error) => {
                assert_eq!(error.status(), Status::Busy, "{error:?}");
                refused += 1;
                if random.below(3) == 0 {
                    for (stream, shut) in rig.streams.iter().zip(&mut shut) {
                        if std::mem::take(shut) {
                            open(stream);
                        }
                    }
                    tensor.synchronize(Timeout::Infinite).expect("everything runs");
                }
            }
        }
    }
    for (stream, shut) in rig.streams.iter().zip(shut) {
        if shut {
            open(stream);
        }
    }
    assert_eq!(status(tensor.synchronize(Timeout::Infinite)), Status::Ok);
    rig.finish();
    assert_eq!(rig.wrong_bytes(), 0, "seed {seed}");
    assert_eq!(rig.looks() + refused, 400);
    assert!(rig.looks() > 60, "it comes to something: {}", rig.looks());
    drop(tensor);
    assert_eq!((pool.levels().held, pool.levels().free), (0, 4), "every block is back");
}

/// Writes the truth and the model, in one of the ways there are.
fn change(tensor: &Arc<Tensor>, truth: &mut [u8], random: &mut Random, first: u64, count: u64, value: u8) {
    let range = first as usize..(first + count) as usize;
    match random.below(8) {
        0 => {
            tensor.fill(&[value]).expect("a fill");
            truth.fill(value);
        }
        1..=3 => {
            // SAFETY: the range lies inside the truth.
            unsafe { tensor.data().add(range.start).write_bytes(value, range.len()) };
            tensor.mark(first, count).expect("a mark");
            truth[range].fill(value);
        }
        4 => {
            // SAFETY: as above.
            unsafe { tensor.data().add(range.start).write_bytes(value, range.len()) };
            tensor.mark(0, ALL).expect("a mark");
            truth[range].fill(value);
        }
        _ => {
            let bytes = vec![value; range.len()];
            // SAFETY: the vector has so many elements.
            unsafe { tensor.write(first, count, bytes.as_ptr()) }.expect("a write");
            truth[range].fill(value);
        }
    }
}
