//! Buffers against a model of both sides.

use crate::kit::{Random, Rig};
use gpubuf::buffer::{Buffer, BufferOptions};
use gpubuf::config::{Placement, Timeout};
use gpubuf::dtype::{Dtype, Shape};
use gpubuf::fence::Access;
use gpubuf::sync::Arc;

const BYTES: u64 = 8192;

struct Model {
    buffer: Arc<Buffer>,
    address: u64,
    host: Vec<u8>,
    device: Vec<u8>,
}

pub fn run(rig: &Rig, random: &mut Random, steps: u64) {
    let mut models: Vec<Model> = (0..4).map(|number| make(rig, number)).collect();
    for step in 0..steps {
        let chosen = random.below(models.len() as u64) as usize;
        if random.below(200) == 0 {
            // Destroyed in flight, and a new one in its place.
            models[chosen] = make(rig, step);
        }
        let model = &mut models[chosen];
        let first = random.below(BYTES);
        let count = 1 + random.below(BYTES - first);
        let range = first as usize..(first + count) as usize;
        let stream = rig.any_stream(random).clone();
        match random.below(8) {
            0 | 1 => {
                let value = random.next() as u8;
                let (data, token) = model.buffer.begin(Access::Write, first, count, Timeout::Infinite).expect("write");
                // SAFETY: the guard covers the range.
                unsafe { data.write_bytes(value, count as usize) };
                model.buffer.end(Access::Write, token).expect("end");
                model.host[range].fill(value);
            }
            2 | 3 => {
                model.buffer.copy(true, first, count, &stream, None).expect("up");
                model.device[range.clone()].copy_from_slice(&model.host[range]);
            }
            4 => {
                model.buffer.copy(false, first, count, &stream, None).expect("down");
                model.host[range.clone()].copy_from_slice(&model.device[range]);
            }
            5 => {
                let (data, token) = model.buffer.begin(Access::Read, first, count, Timeout::Infinite).expect("read");
                // SAFETY: the guard covers the range.
                let found = unsafe { std::slice::from_raw_parts(data, count as usize) };
                rig.note_wrong(found.iter().zip(&model.host[range]).filter(|(a, b)| a != b).count());
                model.buffer.end(Access::Read, token).expect("end");
            }
            6 => {
                let value = random.next() as u8;
                model.buffer.fill(false, true, &[value], Some(&stream), Timeout::Infinite).expect("fill");
                model.device.fill(value);
            }
            _ => {
                // A kernel: it runs on a stream that was named with the address, behind what was copied elsewhere.
                for other in &rig.streams {
                    stream.wait_for(&other.record().expect("a fence")).expect("a wait");
                }
                rig.look(&stream, model.address + first, &model.device[range]);
            }
        }
        if step % 64 == 0 {
            rig.device.maintain();
        }
    }
}

fn make(rig: &Rig, number: u64) -> Model {
    let host = if number.is_multiple_of(2) { Placement::Pinned } else { Placement::Pageable };
    let options = BufferOptions {
        dtype: Dtype::U8,
        shape: Shape::new(&[BYTES]).expect("a shape"),
        host,
        device: Placement::Device,
        host_memory: std::ptr::null_mut(),
        device_memory: 0,
        release: None,
        label: format!("buffer {number}"),
    };
    let buffer = Buffer::create(&rig.device, options).expect("a buffer");
    let address = buffer.device_address(&rig.streams).expect("an address");
    Model { buffer, address, host: vec![0; BYTES as usize], device: vec![0; BYTES as usize] }
}
