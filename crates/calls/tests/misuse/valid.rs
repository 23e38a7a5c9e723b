//! Valid arguments for every function: what roles tell, and what single functions need besides.

use crate::world::{FRESH, NAME, REGION, World, fill, made, number, ok};
use gpubuf_calls::{Extent, Function, Role};
use std::ffi::c_void;

/// A byte that memory for outputs is full of beforehand.
pub const UNTOUCHED: u8 = 0xa5;

extern "C" fn log_nothing(_: i32, _: *const u8, _: *mut c_void) {}
extern "C" fn warm_nothing(_: u64, _: *mut c_void) -> u64 {
    0
}
extern "C" fn look_at_nothing(_: *const c_void, _: *mut c_void) {}
extern "C" fn run_nothing(_: *mut c_void, _: *mut c_void) {}

/// Arguments that the function takes, in this world, which it prepares.
pub fn arguments(world: &mut World, function: &Function) -> Vec<u64> {
    prepare(world, function.name);
    fill_in(world, function)
}

fn fill_in(world: &mut World, function: &Function) -> Vec<u64> {
    let mut arguments: Vec<u64> = (0..function.params.len()).map(|at| by_role(world, function, at)).collect();
    for (at, param) in function.params.iter().enumerate() {
        if let Some(value) = told(world, function.name, param.name) {
            arguments[at] = value;
        }
    }
    arguments
}

/// As [`arguments`], of a world as it is: what was not prepared is not there.
pub fn unprepared(world: &mut World, function: &Function) -> Vec<u64> {
    for (other, kind) in [("event", "event"), ("buffer", "buffer"), ("block", "block")] {
        let name = match other {
            "event" => "other_event",
            "buffer" => "other_buffer",
            _ => "other_block",
        };
        if !world.has(name) {
            world.put(name, world.of(kind));
        }
    }
    if !world.has("fresh_slots") {
        world.put("fresh_slots", world.of("slots"));
    }
    fill_in(world, function)
}

fn by_role(world: &mut World, function: &Function, at: usize) -> u64 {
    let param = &function.params[at];
    let output = |world: &mut World| {
        world.regions[at].0 = [UNTOUCHED; REGION];
        world.regions[at].address()
    };
    let input = |world: &mut World| {
        world.regions[at].0 = [0; REGION];
        world.regions[at].address()
    };
    match param.role {
        Role::Handle { kind } => world.of(kind),
        Role::AnyHandle => world.of("event"),
        Role::Handles { kind, .. } => {
            let handle = world.of(kind);
            let list = input(world);
            world.regions[at].set(0, handle.to_ne_bytes());
            list
        }
        Role::Options { of } => {
            let memory = input(world);
            fill(of, memory);
            memory
        }
        Role::Figures { of } => {
            let memory = output(world);
            let size = gpubuf_calls::structure(of).expect("a struct").size as u32;
            world.regions[at].set(0, size.to_ne_bytes());
            memory
        }
        Role::StructSize => 2048,
        Role::OutHandle { .. }
        | Role::Init { .. }
        | Role::OutItems { .. }
        | Role::OutText { .. }
        | Role::Output(_)
        | Role::Out { .. } => output(world),
        Role::InOut(_) | Role::Items { .. } => input(world),
        Role::Input(Extent::Extents { .. }) => {
            let memory = input(world);
            // Beyond its capacity, so that a buffer has to move.
            let extent = if function.name == "gpubuf_buffer_resize" { 8u64 } else { 4 };
            (0..8).for_each(|place| world.regions[at].set(place * 8, extent.to_ne_bytes()));
            memory
        }
        Role::Input(_) => input(world),
        Role::Count { of } => match function.params[of].role {
            Role::OutText { .. } => 512,
            _ => 1,
        },
        Role::Text => NAME.as_ptr() as u64,
        Role::Callback { of, .. } => match of {
            "gpubuf_log_fn" => log_nothing as *const () as u64,
            "gpubuf_warm_fn" => warm_nothing as *const () as u64,
            "gpubuf_workspace_entry_fn" => look_at_nothing as *const () as u64,
            "gpubuf_host_fn" => run_nothing as *const () as u64,
            _ => panic!("no callback of type {of}: write one in valid.rs"),
        },
        Role::Enum { prefix } => match prefix {
            "GPUBUF_DTYPE_" => number("GPUBUF_DTYPE_I32"),
            "GPUBUF_PLACEMENT_" => number("GPUBUF_PLACEMENT_PINNED"),
            "GPUBUF_" => 0,
            _ => gpubuf_calls::values(prefix).next().expect("an enumeration"),
        },
        Role::Timeout => number("GPUBUF_TIMEOUT_DEFAULT"),
        Role::Amount | Role::Rank => 1,
        Role::View => world.of("scratch"),
        _ => 0,
    }
}

/// Arguments that are not what their role suggests.
fn told(world: &mut World, function: &str, param: &str) -> Option<u64> {
    Some(match (function, param) {
        ("gpubuf_event_elapsed_ns", "later") => world.of("event"),
        ("gpubuf_event_elapsed_ns", "earlier") => world.of("other_event"),

        (
            "gpubuf_buffer_end_write" | "gpubuf_buffer_end_read" | "gpubuf_block_end_write" | "gpubuf_block_end_read",
            "token",
        )
        | ("gpubuf_step_end_span" | "gpubuf_tiered_block_release", "token")
        | ("gpubuf_slots_retire" | "gpubuf_slots_read_back" | "gpubuf_slots_read_back_buffer", "ticket")
        | ("gpubuf_slots_begin_read" | "gpubuf_slots_end_read", "read_back") => world.of("number"),
        ("gpubuf_host_graph_launch" | "gpubuf_host_graph_destroy", "graph")
        | ("gpubuf_graph_hold_set_graph", "executable_graph") => world.graph,
        ("gpubuf_stream_wait_native_event" | "gpubuf_stream_record_native_event", "native_event") => {
            world.of("native_event")
        }
        ("gpubuf_buffer_detach", "buffer") => world.of("other_buffer"),
        ("gpubuf_workspace_release", "buffer") => world.of("other_buffer"),
        ("gpubuf_pinned_free", "block") => world.of("other_block"),
        ("gpubuf_slots_add" | "gpubuf_slots_freeze" | "gpubuf_slots_tiers" | "gpubuf_slots_predictor", "slots") => {
            world.of("fresh_slots")
        }
        ("gpubuf_graph_hold_add_slots_copy", "copy") => 0,
        ("gpubuf_step_bind" | "gpubuf_step_bind_block", "slot") => 2,
        ("gpubuf_step_bind" | "gpubuf_step_bind_block", "bytes") => 32,
        ("gpubuf_step_bind", "address") => world.of("address"),
        ("gpubuf_step_write_many", "token_count") => number("GPUBUF_ALL"),
        ("gpubuf_step_pad", "row_count") => 8,
        ("gpubuf_buffer_fill" | "gpubuf_buffer_zero", "sides") | ("gpubuf_buffer_resize", "keep") => {
            number("GPUBUF_SIDE_BOTH")
        }
        ("gpubuf_workspace_allocate", "zero") | ("gpubuf_ops_gather" | "gpubuf_ops_scatter", "index_count") => 1,
        ("gpubuf_buffer_resize", "rank") => 2,
        ("gpubuf_staged_rows_grow", "row_count") => 16,
        ("gpubuf_predictor_predict", "capacity") => 8,
        ("gpubuf_predictor_record", "size") => 64,
        ("gpubuf_predictor_prewarm_pool", "blocks_each") => 1,
        ("gpubuf_ops_gather", "source_count")
        | ("gpubuf_ops_gather" | "gpubuf_ops_scatter", "row_bytes")
        | ("gpubuf_ops_scatter", "target_count")
        | (_, "element_bytes" | "multiple") => 1,
        ("gpubuf_ops_pad" | "gpubuf_ops_pad_in_place", "capacity") => 8,
        ("gpubuf_ops_flatten", "capacity") => 8,
        ("gpubuf_ops_split", "piece_count") => 1,
        ("gpubuf_host_limit_memory", "bytes") => 1 << 20,
        ("gpubuf_workspace_evict", "max_entries" | "max_bytes") => number("GPUBUF_ALL"),
        ("gpubuf_tiers_set_budget", "budget_bytes") => 4096,
        ("gpubuf_pinned_set_budget", "budget_bytes") => 1 << 20,
        ("gpubuf_workspace_get" | "gpubuf_workspace_find" | "gpubuf_workspace_release_name", "name") => {
            FRESH.as_ptr() as u64
        }
        _ => return None,
    })
}

/// What a function finds done.
fn prepare(world: &mut World, function: &str) {
    let (device, stream, buffer, block, step, slots) = (
        world.of("device"),
        world.of("stream"),
        world.of("buffer"),
        world.of("block"),
        world.of("step"),
        world.of("slots"),
    );
    let wait = number("GPUBUF_TIMEOUT_DEFAULT");
    let data = [0u32; 16];
    let data = data.as_ptr() as u64;
    let mut pointer = 0u64;
    let pointer = &raw mut pointer as u64;
    let committed = |world: &mut World| {
        ok("gpubuf_step_write", &[step, 0, 0, 8, data]);
        let ticket = made("gpubuf_step_commit", &[step, stream, 0, 0]);
        world.put("number", ticket);
        ticket
    };
    match function {
        "gpubuf_event_elapsed_ns" => {
            let earlier = made("gpubuf_event_create_timed", &[device]);
            world.put("other_event", earlier);
            ok("gpubuf_event_record", &[earlier, stream]);
            ok("gpubuf_event_record", &[world.of("event"), stream]);
            ok("gpubuf_stream_synchronize", &[stream, wait]);
        }
        "gpubuf_stream_query" | "gpubuf_event_query" | "gpubuf_event_wait" => {
            ok("gpubuf_stream_synchronize", &[stream, wait])
        }
        "gpubuf_buffer_end_write" => {
            let token = made("gpubuf_buffer_begin_write", &[buffer, 0, 4, wait, pointer]);
            world.put("number", token);
        }
        "gpubuf_buffer_end_read" => {
            let token = made("gpubuf_buffer_begin_read", &[buffer, 0, 4, wait, pointer]);
            world.put("number", token);
        }
        "gpubuf_block_end_write" => {
            let token = made("gpubuf_block_begin_write", &[block, 0, 4, wait, pointer]);
            world.put("number", token);
        }
        "gpubuf_block_end_read" => {
            let token = made("gpubuf_block_begin_read", &[block, 0, 4, wait, pointer]);
            world.put("number", token);
        }
        "gpubuf_tiered_block_release" => {
            let arguments = [
                world.of("tiered_block"),
                number("GPUBUF_PLACEMENT_PINNED"),
                number("GPUBUF_ACCESS_READ"),
                wait,
                pointer,
            ];
            let token = made("gpubuf_tiered_block_begin", &arguments);
            world.put("number", token);
        }
        "gpubuf_buffer_detach" => {
            let options = world.options("gpubuf_buffer_options");
            let of = gpubuf_calls::structure("gpubuf_buffer_options").expect("the struct");
            let memory = world.regions[10].address();
            world.regions[11].set(of.field("host_memory").expect("a field").offset, memory.to_ne_bytes());
            let borrowed = made("gpubuf_buffer_create", &[device, options]);
            world.put("other_buffer", borrowed);
        }
        "gpubuf_pool_clear" => {
            // The others live on another pool.
            ok("gpubuf_block_release", &[block]);
            ok("gpubuf_tensor_destroy", &[world.of("tensor")]);
            let options = world.options("gpubuf_pool_options");
            let pool = made("gpubuf_pool_create", &[device, options]);
            world.put("other_pool", pool);
            world.put("block", made("gpubuf_pool_acquire", &[pool, 0, 0]));
            let options = world.options("gpubuf_tensor_options");
            world.put("tensor", made("gpubuf_tensor_create", &[pool, options]));
        }
        "gpubuf_pinned_free" => {
            let request = world.options("gpubuf_pinned_request");
            let other = made("gpubuf_pinned_allocate", &[world.of("pinned"), request]);
            world.put("other_block", other);
        }
        "gpubuf_slots_add" | "gpubuf_slots_freeze" => {
            let fresh = made("gpubuf_slots_create", &[device, 0]);
            world.add_slot(fresh, NAME, 0, 0);
            world.put("fresh_slots", fresh);
        }
        "gpubuf_slots_tiers" | "gpubuf_slots_predictor" => {
            let predictive = world.regions[10].address();
            fill("gpubuf_predictor_options", predictive);
            let options = world.options("gpubuf_decode_options");
            let of = gpubuf_calls::structure("gpubuf_decode_options").expect("the struct");
            for (field, value) in [("source_tiers", world.of("tiers")), ("predictive", predictive)] {
                world.regions[11].set(of.field(field).expect("a field").offset, value.to_ne_bytes());
            }
            world.put("fresh_slots", made("gpubuf_slots_create_decode", &[device, options]));
        }
        "gpubuf_device_capability_reason" => {
            world.regions[11].set(0, 64u32.to_ne_bytes());
            ok("gpubuf_device_probe", &[device, wait, world.regions[11].address()]);
        }
        "gpubuf_block_promote" | "gpubuf_block_demote" => {
            let options = world.options("gpubuf_block_options");
            let of = gpubuf_calls::structure("gpubuf_block_options").expect("the struct");
            let uva = number("GPUBUF_PLACEMENT_UVA") as u32;
            world.regions[11].set(of.field("placement").expect("a field").offset, uva.to_ne_bytes());
            let other = made("gpubuf_block_create", &[device, options]);
            world.put("other_block", block);
            world.put("block", other);
            if function == "gpubuf_block_demote" {
                ok("gpubuf_block_promote", &[other, stream]);
            }
        }
        "gpubuf_pinned_clear" => {
            ok("gpubuf_reservation_destroy", &[world.of("reservation")]);
            let options = world.options("gpubuf_pinned_options");
            let other = made("gpubuf_pinned_create", &[device, options]);
            world.put("other_pinned", other);
            let options = world.options("gpubuf_pinned_request");
            world.put("reservation", made("gpubuf_pinned_reserve", &[other, options]));
        }
        "gpubuf_tensor_to_host" => {
            let list = [stream];
            let arguments = [world.of("tensor"), list.as_ptr() as u64, 1, number("GPUBUF_ACCESS_WRITE"), wait];
            made("gpubuf_tensor_publish", &arguments);
        }
        "gpubuf_staged_rows_apply" => ok("gpubuf_staged_rows_stage", &[world.of("staged_rows"), 0, 0, data, 4]),
        "gpubuf_slots_retire"
        | "gpubuf_slots_read_back"
        | "gpubuf_slots_read_back_buffer"
        | "gpubuf_step_retire"
        | "gpubuf_step_address" => {
            committed(world);
        }
        "gpubuf_slots_begin_read" | "gpubuf_slots_end_read" => {
            let ticket = committed(world);
            let read_back = made("gpubuf_slots_read_back", &[slots, ticket, 0, 0, 1, stream]);
            world.put("number", read_back);
        }
        "gpubuf_step_end_span" => {
            let token = made("gpubuf_step_begin_span", &[step, 0, 0, 4, pointer]);
            world.put("number", token);
        }
        "gpubuf_step_commit" => ok("gpubuf_step_write", &[step, 0, 0, 8, data]),
        "gpubuf_step_pad_tokens" => ok("gpubuf_step_write", &[step, 3, 0, 3, data]),
        "gpubuf_step_bind" | "gpubuf_step_bind_block" => {
            ok("gpubuf_step_abort", &[step]);
            let step = made("gpubuf_slots_begin", &[slots, wait]);
            world.put("step", step);
            let list = [stream];
            let address = made("gpubuf_buffer_device_address", &[buffer, list.as_ptr() as u64, 1]);
            world.put("address", address);
        }
        "gpubuf_graph_hold_set_graph"
        | "gpubuf_graph_hold_launch"
        | "gpubuf_host_graph_launch"
        | "gpubuf_host_graph_destroy"
        | "gpubuf_graph_hold_replayed" => {
            ok("gpubuf_graph_hold_add_buffer", &[world.of("graph_hold"), buffer, wait]);
            ok("gpubuf_host_capture_begin", &[stream]);
            ok("gpubuf_buffer_capture_to_device", &[buffer, world.of("graph_hold"), 0, 4, stream]);
            world.graph = made("gpubuf_host_capture_end", &[stream]);
            if function == "gpubuf_graph_hold_launch" {
                ok("gpubuf_graph_hold_set_graph", &[world.of("graph_hold"), world.graph]);
            }
        }
        "gpubuf_buffer_capture_to_device"
        | "gpubuf_buffer_capture_to_host"
        | "gpubuf_block_capture_to_device"
        | "gpubuf_block_capture_to_host" => {
            ok("gpubuf_graph_hold_add_buffer", &[world.of("graph_hold"), buffer, wait]);
            ok("gpubuf_graph_hold_add_block", &[world.of("graph_hold"), block, wait]);
            ok("gpubuf_host_capture_begin", &[stream]);
            world.capturing = true;
        }
        "gpubuf_host_capture_end" | "gpubuf_host_capture_call" => {
            ok("gpubuf_host_capture_begin", &[stream]);
            world.capturing = true;
        }
        "gpubuf_host_stream_release" => {
            ok("gpubuf_host_stream_hold", &[stream]);
            world.held = true;
        }
        "gpubuf_host_stream_hold" => world.held = true,
        "gpubuf_workspace_release" | "gpubuf_workspace_find" | "gpubuf_workspace_release_name" => {
            let spec = world.options("gpubuf_spec");
            let entry = made("gpubuf_workspace_get", &[world.of("workspace"), FRESH.as_ptr() as u64, spec, wait]);
            world.put("other_buffer", entry);
            if function == "gpubuf_workspace_find" {
                ok("gpubuf_workspace_release", &[world.of("workspace"), entry]);
            }
        }
        "gpubuf_stream_wait_native_event" | "gpubuf_stream_record_native_event" => {
            let of = gpubuf_calls::structure("gpubuf_device_info").expect("the struct");
            world.regions[11].set(0, (of.size as u32).to_ne_bytes());
            ok("gpubuf_device_info_get", &[device, world.regions[11].address()]);
            let context = of.field("native_context").expect("a field").offset;
            let context = world.regions[11].0[context..context + 8].try_into().expect("8 bytes");
            let event = crate::driver::event(u64::from_ne_bytes(context));
            world.put("native_event", event);
        }
        _ => {}
    }
}
