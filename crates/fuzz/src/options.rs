//! Structs with options: usual ones, of which some fields are changed.

use gpubuf_calls::{Field, Role, Struct, call, constant, function};

/// A struct with the library's defaults, and usual values where there is none.
pub fn usual(of: &Struct) -> Vec<u64> {
    let mut words = vec![0u64; of.size.div_ceil(8) + 8];
    let init = match of.name {
        "gpubuf_spec" => Some("gpubuf_spec_init".to_owned()),
        name => Some(format!("{name}_init")),
    };
    if let Some(init) = init.and_then(|init| function(&init)) {
        // SAFETY: memory of the struct's size.
        unsafe { call(init.index, &[words.as_mut_ptr() as u64, of.size as u64]) };
    } else {
        set(&mut words, &of.fields[0], of.size as u64);
    }
    let mut put = |name: &str, value: u64| {
        if let Some(field) = of.field(name) {
            set(&mut words, field, value);
        }
    };
    let f32 = constant("GPUBUF_DTYPE_F32").unwrap_or(0);
    match of.name {
        "gpubuf_device_options" => {
            put("backend", constant("GPUBUF_BACKEND_HOST").unwrap_or(0));
            put("default_timeout_ns", 1_000_000);
        }
        "gpubuf_pool_options" => {
            put("block_bytes", 256);
            put("block_count", 2);
        }
        "gpubuf_block_options" => put("bytes", 256),
        "gpubuf_pinned_options" => {
            put("budget_bytes", 1 << 16);
            put("slab_bytes", 1 << 14);
        }
        "gpubuf_pinned_request" => put("bytes", 128),
        "gpubuf_decode_options" => {
            for (name, value) in [("max_batch", 4), ("max_tokens", 16), ("max_seq_len", 64), ("block_size", 16)] {
                put(name, value);
            }
        }
        "gpubuf_staged_rows_options" => {
            for (name, value) in [("rows", 8), ("row_elements", 8), ("dtype", f32)] {
                put(name, value);
            }
        }
        "gpubuf_tiers_options" => {
            for (name, value) in [("device_bytes", 2048), ("pinned_bytes", 2048), ("pageable_bytes", 8192)] {
                put(name, value);
            }
        }
        _ => {
            put("dtype", f32);
            put("rank", 1);
            put("shape", 16);
        }
    }
    words
}

/// Sets a field, or the first item of an array.
pub fn set(words: &mut [u64], field: &Field, value: u64) {
    let (at, shift) = (field.offset / 8, 8 * (field.offset % 8));
    let mask = if field.bytes >= 8 { u64::MAX } else { (1 << (8 * field.bytes)) - 1 };
    if let Some(word) = words.get_mut(at) {
        *word = *word & !(mask << shift) | (value & mask) << shift;
    }
}

/// A field, or the first item of an array.
pub fn get(words: &[u64], field: &Field) -> u64 {
    let mask = if field.bytes >= 8 { u64::MAX } else { (1 << (8 * field.bytes)) - 1 };
    words.get(field.offset / 8).map_or(0, |word| word >> (8 * (field.offset % 8)) & mask)
}

/// The struct's scalar fields, arrays item by item: what can be changed.
pub fn changeable(of: &Struct) -> Vec<Field> {
    let mut out = Vec::new();
    for field in of.fields {
        if matches!(field.role, Role::UserData { .. } | Role::Native) {
            continue;
        }
        for item in 0..field.count {
            out.push(Field {
                name: field.name,
                c_type: field.c_type,
                offset: field.offset + item * field.bytes,
                bytes: field.bytes,
                count: 1,
                role: field.role,
            });
        }
    }
    out
}

/// Keeps numbers where they cost little, or are too large for anything: a fuzzer that fills the memory finds nothing.
pub fn fold(role: Role, name: &str, value: u64) -> u64 {
    match (role, name) {
        (_, "upkeep_interval_ns") => 0,
        (Role::Timeout, _) => [0, 1_000, 100_000, 1_000_000][(value % 4) as usize],
        (_, "ns" | "fixed_ns" | "max_ns" | "latency_ns") => value % 50_000,
        (_, "bytes_per_second") if value != 0 => value | 1 << 30,
        (_, "backend") => 2,
        (Role::Ordinal, _) => value % 2,
        (Role::Count { .. }, _) | (_, "capacity") => value % 4096,
        (_, "shape") if value < 1 << 48 => value % 65,
        (_, "depth" | "read_back_depth" | "blocks_each" | "block_count" | "max_blocks" | "most_sizes" | "window")
            if value < 1 << 20 =>
        {
            value % 70
        }
        _ if value < 1 << 48 => value % (1 << 18),
        _ => value,
    }
}
