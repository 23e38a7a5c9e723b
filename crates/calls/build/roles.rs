//! What parameters and fields are. Types and names tell of nearly all; [`told`] has the rest. What neither tells stays `Role::Unknown`, which
//! a test refuses.

use crate::header::{Header, Item};

/// The role of one of a function's parameters, or of a struct's fields, as a Rust expression.
pub fn role(header: &Header, owner: &str, items: &[Item], at: usize) -> String {
    let item = &items[at];
    if let Some(role) = told(owner, &item.name) {
        return role.into();
    }
    if let Some(role) = by_type(header, items, at) {
        return role;
    }
    // The list, memory or text that this is the length of.
    let before = at.checked_sub(1).map(|before| &items[before]);
    if let Some(list) = before
        && (item.name.ends_with("_count") && list.c_type.ends_with('*')
            || item.name == "capacity" && item.c_type == "size_t")
    {
        return format!("Role::Count {{ of: {} }}", at - 1);
    }
    by_name(owner, &item.name).into()
}

fn by_type(header: &Header, items: &[Item], at: usize) -> Option<String> {
    let Item { name, c_type, .. } = &items[at];
    let next = at + 1;
    if name == "user_data" || name.ends_with("_user_data") {
        return Some(format!("Role::UserData {{ of: {} }}", at.wrapping_sub(1)));
    }
    if header.callbacks.iter().any(|callback| callback.name == *c_type) {
        return Some(format!("Role::Callback {{ of: {c_type:?}, user_data: {next} }}"));
    }
    let base = c_type.trim_start_matches("const ").trim_end_matches(['*', ' ']).trim_end_matches(" *const");
    let stars = c_type.matches('*').count();
    let kind = base.strip_prefix("gpubuf_").filter(|kind| header.kinds.iter().any(|known| known == kind));
    match (kind, stars) {
        (Some("host_view"), _) => return Some("Role::View".into()),
        (Some(kind), 1) => return Some(format!("Role::Handle {{ kind: {kind:?} }}")),
        (Some(kind), 2) if c_type.contains("*const *") => {
            return Some(format!("Role::Handles {{ kind: {kind:?}, count: {next} }}"));
        }
        (Some(kind), 2) => return Some(format!("Role::OutHandle {{ kind: {kind:?} }}")),
        _ => {}
    }
    if let (Some(of), 1) = (header.structure(base), stars) {
        let grows = of.fields[0].name == "struct_size";
        let list = items.get(next).is_some_and(|next| next.name.ends_with("_count") || next.name == "capacity");
        return Some(match (grows, list, c_type.starts_with("const ")) {
            (true, _, true) => format!("Role::Options {{ of: {base:?} }}"),
            (true, _, false) if name.starts_with("inout_") => format!("Role::Figures {{ of: {base:?} }}"),
            (true, _, false) => format!("Role::Init {{ of: {base:?} }}"),
            (false, true, true) => format!("Role::Items {{ of: {base:?}, count: {next} }}"),
            (false, true, false) => format!("Role::OutItems {{ of: {base:?}, capacity: {next} }}"),
            _ => return None,
        });
    }
    match c_type.as_str() {
        "const char *" => Some("Role::Text".into()),
        "char *" => Some(format!("Role::OutText {{ capacity: {next} }}")),
        _ if stars > 0 && (name.starts_with("out_") || name.starts_with("inout_")) => {
            let bytes = crate::write::size(header, c_type.strip_suffix('*')?.trim_end())?;
            Some(format!("Role::Out {{ bytes: {bytes} }}"))
        }
        _ => None,
    }
}

fn by_name(owner: &str, name: &str) -> &'static str {
    match name {
        "struct_size" => "Role::StructSize",
        "timeout_ns" => "Role::Timeout",
        "token" => "Role::Token",
        "ticket" => "Role::Ticket",
        "read_back" => "Role::ReadBack",
        "graph" => "Role::Graph",
        "address" | "device_memory" if owner != "gpubuf_device_options" => "Role::Address",
        "native_stream" | "native_event" | "executable_graph" | "native_context" => "Role::Native",
        "ordinal" => "Role::Ordinal",
        "reserved" | "reserved2" => "Role::Reserved",
        "backend" => "Role::Enum { prefix: \"GPUBUF_BACKEND_\" }",
        "capability" => "Role::Enum { prefix: \"GPUBUF_CAPABILITY_\" }",
        "format" => "Role::Enum { prefix: \"GPUBUF_REPORT_\" }",
        "pinned_method" => "Role::Enum { prefix: \"GPUBUF_PINNED_\" }",
        "device_memory" => "Role::Enum { prefix: \"GPUBUF_DEVICE_MEMORY_\" }",
        "placement" | "host_placement" | "device_placement" | "tier" => "Role::Enum { prefix: \"GPUBUF_PLACEMENT_\" }",
        "dtype" | "index_dtype" | "length_dtype" | "offset_dtype" => "Role::Enum { prefix: \"GPUBUF_DTYPE_\" }",
        "side" | "sides" => "Role::Enum { prefix: \"GPUBUF_SIDE_\" }",
        "policy" | "sync_policy" => "Role::Enum { prefix: \"GPUBUF_SYNC_\" }",
        "access" => "Role::Enum { prefix: \"GPUBUF_ACCESS_\" }",
        "over_budget" => "Role::Enum { prefix: \"GPUBUF_OVER_BUDGET_\" }",
        "debug" => "Role::Enum { prefix: \"GPUBUF_DEBUG_\" }",
        "strategy" => "Role::Enum { prefix: \"GPUBUF_STRATEGY_\" }",
        "method" => "Role::Enum { prefix: \"GPUBUF_METHOD_\" }",
        "operation" => "Role::Enum { prefix: \"GPUBUF_HOST_\" }",
        "when" => "Role::Enum { prefix: \"GPUBUF_HOST_AT_\" }",
        "kind" => "Role::Enum { prefix: \"GPUBUF_SLOT_\" }",
        "device_side" if owner != "gpubuf_block_info" => "Role::Enum { prefix: \"GPUBUF_TWIN_\" }",
        "status" => "Role::Enum { prefix: \"GPUBUF_\" }",
        "late" | "stale" | "zero" | "keep" | "timed" | "huge_pages" | "own_copy" | "probe" => "Role::Flag",
        "first" | "first_row" | "first_column" | "offset" | "row" => "Role::First",
        "count" | "row_count" | "column_count" | "bytes" | "token_count" => "Role::Amount",
        "slot" | "copy" | "index" | "axis" => "Role::Index",
        "rank" => "Role::Rank",
        "shape" => "Role::Shape",
        _ if owner.contains("_stats") || owner.ends_with("_info") || FIGURES.contains(&owner) => "Role::Number",
        "priority" | "max_entries" | "max_bytes" | "keep_bytes" | "budget_bytes" | "size" | "above_bytes"
        | "blocks_each" => "Role::Number",
        "default_timeout_ns" => "Role::Timeout",
        "register_bytes"
        | "upkeep_interval_ns"
        | "capacity"
        | "block_bytes"
        | "block_count"
        | "reserved_blocks"
        | "patience"
        | "max_blocks"
        | "growth_percent"
        | "shrink_below_percent"
        | "cool_down_ns"
        | "slab_bytes"
        | "large_bytes"
        | "retries"
        | "alignment"
        | "depth"
        | "read_back_depth"
        | "device_depth"
        | "read_back_bytes"
        | "gap_bytes"
        | "follows_tokens"
        | "max_batch"
        | "max_tokens"
        | "max_seq_len"
        | "block_size"
        | "rows"
        | "row_elements"
        | "capacity_rows"
        | "max_writes"
        | "staging_bytes"
        | "moves_per_step"
        | "device_bytes"
        | "managed_bytes"
        | "pinned_bytes"
        | "pageable_bytes"
        | "high_percent"
        | "low_percent"
        | "window"
        | "most_sizes"
        | "steps_in_flight" => "Role::Number",
        "ns" | "fixed_ns" | "seed" | "max_ns" | "latency_ns" | "bytes_per_second" | "nth" => "Role::Number",
        "source_count" | "row_bytes" | "element_bytes" | "index_count" | "target_count" | "piece_count"
        | "multiple" => "Role::Number",
        _ => "Role::Unknown",
    }
}

/// Structs that only the library fills, besides those whose names say so.
const FIGURES: [&str; 6] = [
    "gpubuf_device_summary",
    "gpubuf_capabilities",
    "gpubuf_dirty_range",
    "gpubuf_pool_block",
    "gpubuf_pinned_share",
    "gpubuf_workspace_entry",
];

/// Roles that cannot be told from type and name: memory with what it extends over, foremost.
fn told(owner: &str, name: &str) -> Option<&'static str> {
    Some(match (owner, name) {
        (_, "handle") => "Role::AnyHandle",
        ("gpubuf_device_count", "out_count") => "Role::Out { bytes: 4 }",
        ("gpubuf_buffer_copy_in" | "gpubuf_tensor_write", "source") => "Role::Input(Extent::Elements { count: 2 })",
        ("gpubuf_buffer_copy_out", "destination") => "Role::Output(Extent::Elements { count: 2 })",
        ("gpubuf_buffer_fill" | "gpubuf_tensor_fill", "element") => "Role::Input(Extent::Element)",
        ("gpubuf_buffer_resize", "shape") => "Role::Input(Extent::Extents { rank: 1 })",
        ("gpubuf_block_copy_in", "source") => "Role::Input(Extent::Bytes { bytes: 2 })",
        ("gpubuf_block_copy_out", "destination") => "Role::Output(Extent::Bytes { bytes: 2 })",
        ("gpubuf_step_write" | "gpubuf_step_write_named", "rows") => "Role::Input(Extent::Rows { count: 3 })",
        ("gpubuf_staged_rows_stage", "values") => "Role::Input(Extent::Elements { count: 4 })",
        ("gpubuf_host_view_read", "destination") => "Role::Output(Extent::Bytes { bytes: 3 })",
        ("gpubuf_host_view_write", "source") => "Role::Input(Extent::Bytes { bytes: 3 })",
        ("gpubuf_predictor_predict", "out_sizes") => "Role::OutItems { of: \"uint64_t\", capacity: 2 }",
        ("gpubuf_ops_gather", "source") => "Role::Input(Extent::Product { factors: [1, 2] })",
        ("gpubuf_ops_gather", "indices") => "Role::Input(Extent::Integers { count: 5, more: 0, dtype: 4 })",
        ("gpubuf_ops_gather", "out_target") => "Role::Output(Extent::Product { factors: [5, 2] })",
        ("gpubuf_ops_scatter", "source") => "Role::Input(Extent::Product { factors: [4, 1] })",
        ("gpubuf_ops_scatter", "indices") => "Role::Input(Extent::Integers { count: 4, more: 0, dtype: 3 })",
        ("gpubuf_ops_scatter", "out_target") => "Role::InOut(Extent::Product { factors: [6, 1] })",
        ("gpubuf_ops_pad", "source") => "Role::Input(Extent::Array { shape: 1, rank: 2, element_bytes: 3 })",
        ("gpubuf_ops_pad", "shape") => "Role::Input(Extent::Extents { rank: 2 })",
        ("gpubuf_ops_pad", "value") => "Role::Input(Extent::Bytes { bytes: 3 })",
        ("gpubuf_ops_pad", "out_target") => "Role::Output(Extent::Product { factors: [8, 3] })",
        ("gpubuf_ops_pad", "capacity") => "Role::Count { of: 7 }",
        ("gpubuf_ops_pad_in_place", "inout_data") => "Role::InOut(Extent::Product { factors: [1, 4] })",
        ("gpubuf_ops_pad_in_place", "shape") => "Role::Input(Extent::Extents { rank: 3 })",
        ("gpubuf_ops_pad_in_place", "value") => "Role::Input(Extent::Bytes { bytes: 4 })",
        ("gpubuf_ops_pad_in_place", "capacity") => "Role::Count { of: 0 }",
        ("gpubuf_ops_offsets", "lengths") => "Role::Input(Extent::Integers { count: 2, more: 0, dtype: 1 })",
        ("gpubuf_ops_offsets", "out_offsets") => "Role::Output(Extent::Integers { count: 2, more: 1, dtype: 3 })",
        ("gpubuf_ops_flatten", "out_target") => "Role::Output(Extent::Product { factors: [5, 2] })",
        ("gpubuf_ops_flatten", "capacity") => "Role::Count { of: 4 }",
        ("gpubuf_ops_flatten", "out_offsets") => "Role::Output(Extent::Integers { count: 1, more: 1, dtype: 3 })",
        ("gpubuf_ops_split", "source") => "Role::Input(Extent::Product { factors: [1, 2] })",
        ("gpubuf_ops_split", "offsets") => "Role::Input(Extent::Integers { count: 5, more: 1, dtype: 4 })",
        ("gpubuf_ops_split", "out_pieces") => "Role::OutItems { of: \"gpubuf_piece\", capacity: 5 }",
        // Whose bytes, or 0; and how many blocks stay.
        ("gpubuf_buffer_resize", "keep") => "Role::Enum { prefix: \"GPUBUF_SIDE_\" }",
        ("gpubuf_pool_trim", "keep") => "Role::Number",
        // Fields.
        ("gpubuf_buffer_options", "host_memory") => "Role::Input(Extent::Foreign)",
        ("gpubuf_slot_options", "pad_value") => "Role::Input(Extent::Element)",
        ("gpubuf_slots_options" | "gpubuf_decode_options", "padded_sizes") => {
            "Role::Items { of: \"uint64_t\", count: FOLLOWING }"
        }
        ("gpubuf_slot_rows", "rows") => "Role::Input(Extent::Rows { count: 3 })",
        ("gpubuf_piece", "data") => "Role::Input(Extent::Elements { count: 1 })",
        ("gpubuf_workspace_entry", "spec") => "Role::Number",
        ("gpubuf_predictor_options", "count") | ("gpubuf_staged_rows_options", "rows") => "Role::Number",
        _ => return None,
    })
}

/// Whether a pointer may be NULL where the other arguments are as usual: the header says so.
pub fn may_be_null(function: &str, name: &str) -> bool {
    function.ends_with("_destroy") && name != "graph"
        || matches!(name, "out_length" | "user_data")
        || matches!(
            (function, name),
            (
                "gpubuf_device_open" | "gpubuf_slots_create" | "gpubuf_workspace_create" | "gpubuf_pressure_create",
                "options"
            ) | ("gpubuf_device_maintain" | "gpubuf_pinned_trim", "out_freed_bytes")
                | ("gpubuf_log_set_callback", "callback")
                | ("gpubuf_pool_maintain", "out_made" | "out_gone")
                | ("gpubuf_pool_trim", "out_gone")
                | ("gpubuf_predictor_create", "device" | "options")
                | ("gpubuf_predictor_record", "out_hit")
                | ("gpubuf_predictor_prewarm", "out_warmed_bytes")
                | ("gpubuf_predictor_prewarm_pool", "out_made" | "out_missing")
                | ("gpubuf_pressure_step", "out_changes")
                | ("gpubuf_set_label", "label")
                | ("gpubuf_slots_abort_all", "out_aborted")
                | ("gpubuf_staged_rows_grow", "out_moved")
                | ("gpubuf_stream_wrap_native", "native_stream")
                | ("gpubuf_tiers_demote", "out_bytes")
                | ("gpubuf_tiers_step", "out_promoted" | "out_demoted")
                | ("gpubuf_workspace_clear", "out_cleared" | "out_kept")
                | ("gpubuf_workspace_evict", "out_evicted")
                | ("gpubuf_workspace_sync_all", "out_synced")
        )
}
