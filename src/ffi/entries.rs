//! Every exported function: its number and name, and when it runs.

/// When an entry runs, other than in a process that uses the library as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Not after the shutdown, in a child after fork, or while the process exits.
    Normally,
    /// Ends an object: after the shutdown it says OK whatever comes out; in a child, or at exit, it does nothing.
    Ends,
    /// The shutdown itself.
    ShutsDown,
    /// Used inside functions that run on a stream, which a shutdown lets come to their end.
    InCallback,
    /// After the shutdown, too.
    AlsoAfterwards,
    /// Needs nothing.
    AnyTime,
}

macro_rules! entries {
    ($($(#[$attribute:meta])* $when:ident $name:ident;)+) => {
        /// An exported function.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(non_camel_case_types, missing_docs)]
        #[repr(u16)]
        pub enum Entry { $($(#[$attribute])* $name),+ }

        impl Entry {
            /// Every entry, in the order of their numbers.
            #[cfg(test)]
            pub const ALL: &'static [Entry] = &[$($(#[$attribute])* Entry::$name),+];

            /// The function's name.
            pub const fn name(self) -> &'static str {
                match self { $($(#[$attribute])* Entry::$name => stringify!($name)),+ }
            }

            /// When it runs.
            pub const fn when(self) -> When {
                match self { $($(#[$attribute])* Entry::$name => When::$when),+ }
            }
        }
    };
}

entries! {
    AnyTime gpubuf_version_number;
    AnyTime gpubuf_version_string;
    AnyTime gpubuf_status_name;
    AnyTime gpubuf_last_error_message;
    Normally gpubuf_log_set_callback;
    ShutsDown gpubuf_shutdown;
    Normally gpubuf_describe;
    Normally gpubuf_set_label;
    AnyTime gpubuf_dtype_size;

    AnyTime gpubuf_device_options_init;
    Normally gpubuf_device_count;
    Normally gpubuf_device_open;
    Ends gpubuf_device_destroy;
    Normally gpubuf_device_backend;
    Normally gpubuf_device_info_get;
    Normally gpubuf_device_name;
    Normally gpubuf_device_backend_reason;
    Normally gpubuf_device_maintain;
    Normally gpubuf_device_drain;
    Normally gpubuf_device_synchronize;
    Normally gpubuf_device_stats_get;
    Normally gpubuf_device_summary_get;
    Normally gpubuf_device_probe;
    Normally gpubuf_device_capability_reason;

    Normally gpubuf_stream_create;
    Normally gpubuf_stream_wrap_native;
    Normally gpubuf_stream_native;
    Normally gpubuf_stream_query;
    Normally gpubuf_stream_synchronize;
    Normally gpubuf_stream_wait_event;
    Normally gpubuf_stream_wait_native_event;
    Normally gpubuf_stream_record_native_event;
    Ends gpubuf_stream_destroy;
    Normally gpubuf_event_create;
    Normally gpubuf_event_create_timed;
    Normally gpubuf_event_elapsed_ns;
    Normally gpubuf_event_record;
    Normally gpubuf_event_query;
    Normally gpubuf_event_wait;
    Ends gpubuf_event_destroy;

    AnyTime gpubuf_buffer_options_init;
    Normally gpubuf_buffer_create;
    Ends gpubuf_buffer_destroy;
    Normally gpubuf_buffer_info_get;
    Normally gpubuf_buffer_host_ptr;
    Normally gpubuf_buffer_host_ptr_unfenced;
    Normally gpubuf_buffer_device_address;
    Normally gpubuf_buffer_publish;
    Normally gpubuf_buffer_used_on;
    Normally gpubuf_buffer_begin_write;
    Normally gpubuf_buffer_end_write;
    Normally gpubuf_buffer_begin_read;
    Normally gpubuf_buffer_end_read;
    Normally gpubuf_buffer_copy_in;
    Normally gpubuf_buffer_copy_out;
    Normally gpubuf_buffer_to_device;
    Normally gpubuf_buffer_to_device_blocking;
    Normally gpubuf_buffer_to_host;
    Normally gpubuf_buffer_to_host_blocking;
    Normally gpubuf_buffer_fill;
    Normally gpubuf_buffer_zero;
    Normally gpubuf_buffer_detach;
    Normally gpubuf_buffer_slice;
    Normally gpubuf_buffer_window;
    Normally gpubuf_buffer_resize;
    Normally gpubuf_buffer_reset;
    Normally gpubuf_buffer_sync;
    Normally gpubuf_buffer_sync_blocking;
    Normally gpubuf_buffer_mark_dirty;
    Normally gpubuf_buffer_mark_clean;
    Normally gpubuf_buffer_dirty_ranges;
    Normally gpubuf_buffer_stats_get;

    AnyTime gpubuf_pool_options_init;
    Normally gpubuf_pool_create;
    Ends gpubuf_pool_destroy;
    Normally gpubuf_pool_acquire;
    Normally gpubuf_pool_stats_get;
    Normally gpubuf_pool_block_get;
    Normally gpubuf_pool_maintain;
    Normally gpubuf_pool_trim;
    Normally gpubuf_pool_clear;
    AnyTime gpubuf_block_options_init;
    Normally gpubuf_block_create;
    Normally gpubuf_block_fence;
    Normally gpubuf_block_declare_unread;
    Normally gpubuf_block_info_get;
    Normally gpubuf_block_host_ptr;
    Normally gpubuf_block_device_address;
    Normally gpubuf_block_begin_write;
    Normally gpubuf_block_end_write;
    Normally gpubuf_block_begin_read;
    Normally gpubuf_block_end_read;
    Normally gpubuf_block_copy_in;
    Normally gpubuf_block_copy_out;
    Normally gpubuf_block_to_device;
    Normally gpubuf_block_to_host;
    Normally gpubuf_block_to_device_blocking;
    Normally gpubuf_block_to_host_blocking;
    Normally gpubuf_block_sync;
    Normally gpubuf_block_sync_blocking;
    Normally gpubuf_block_publish;
    Normally gpubuf_block_reset;
    Normally gpubuf_block_stats_get;
    Normally gpubuf_block_promote;
    Normally gpubuf_block_demote;
    Normally gpubuf_block_release;
    Normally gpubuf_block_abandon;
    Normally gpubuf_block_release_after;
    Normally gpubuf_block_release_after_many;

    AnyTime gpubuf_pinned_options_init;
    AnyTime gpubuf_pinned_request_init;
    Normally gpubuf_pinned_create;
    Ends gpubuf_pinned_destroy;
    Normally gpubuf_pinned_allocate;
    Normally gpubuf_pinned_free;
    Normally gpubuf_pinned_reserve;
    Normally gpubuf_pinned_trim;
    Normally gpubuf_pinned_clear;
    Normally gpubuf_pinned_set_budget;
    Normally gpubuf_pinned_stats_get;
    Normally gpubuf_pinned_shares_get;
    Normally gpubuf_reservation_commit;
    Normally gpubuf_reservation_left;
    Ends gpubuf_reservation_destroy;

    AnyTime gpubuf_slots_options_init;
    Normally gpubuf_slots_create;
    Ends gpubuf_slots_destroy;
    AnyTime gpubuf_slot_options_init;
    Normally gpubuf_slots_add;
    Normally gpubuf_slots_freeze;
    Normally gpubuf_slots_find;
    Normally gpubuf_slots_slot_info;
    Normally gpubuf_slots_slot_count;
    Normally gpubuf_slots_slot_name;
    Normally gpubuf_slots_device_address;
    Normally gpubuf_slots_padded_size;
    Normally gpubuf_slots_abort_all;
    Normally gpubuf_slots_begin;
    Normally gpubuf_slots_begin_replay;
    Normally gpubuf_slots_retire;
    Normally gpubuf_slots_stats_get;
    Normally gpubuf_slots_read_back;
    Normally gpubuf_slots_read_back_buffer;
    Normally gpubuf_slots_begin_read;
    Normally gpubuf_slots_end_read;
    AnyTime gpubuf_decode_options_init;
    Normally gpubuf_slots_create_decode;
    Normally gpubuf_slots_tiers;
    Normally gpubuf_slots_predictor;
    Normally gpubuf_step_write;
    Normally gpubuf_step_write_named;
    Normally gpubuf_step_write_many;
    Normally gpubuf_step_begin_span;
    Normally gpubuf_step_end_span;
    Normally gpubuf_step_pad;
    Normally gpubuf_step_pad_tokens;
    Normally gpubuf_step_bind;
    Normally gpubuf_step_bind_block;
    Normally gpubuf_step_address;
    Normally gpubuf_step_commit;
    Normally gpubuf_step_abort;
    Normally gpubuf_step_retire;
    Ends gpubuf_step_destroy;

    Normally gpubuf_graph_hold_create;
    Ends gpubuf_graph_hold_destroy;
    Normally gpubuf_graph_hold_add_buffer;
    Normally gpubuf_graph_hold_add_block;
    Normally gpubuf_graph_hold_add_slots;
    Normally gpubuf_graph_hold_add_slots_copy;
    Normally gpubuf_graph_hold_add_staged_rows;
    Normally gpubuf_buffer_capture_to_device;
    Normally gpubuf_buffer_capture_to_host;
    Normally gpubuf_block_capture_to_device;
    Normally gpubuf_block_capture_to_host;
    Normally gpubuf_graph_hold_set_graph;
    Normally gpubuf_graph_hold_launch;
    Normally gpubuf_graph_hold_replayed;

    AnyTime gpubuf_staged_rows_options_init;
    Normally gpubuf_staged_rows_create;
    Ends gpubuf_staged_rows_destroy;
    Normally gpubuf_staged_rows_info_get;
    Normally gpubuf_staged_rows_stage;
    Normally gpubuf_staged_rows_apply;
    Normally gpubuf_staged_rows_clear;
    Normally gpubuf_staged_rows_grow;
    Normally gpubuf_staged_rows_device_address;
    Normally gpubuf_staged_rows_used_on;
    Normally gpubuf_staged_rows_stats_get;

    AnyTime gpubuf_spec_init;
    AnyTime gpubuf_spec_bytes;
    AnyTime gpubuf_spec_equal;
    AnyTime gpubuf_spec_hash;
    AnyTime gpubuf_workspace_options_init;
    Normally gpubuf_workspace_create;
    Ends gpubuf_workspace_destroy;
    Normally gpubuf_workspace_get;
    Normally gpubuf_workspace_find;
    Normally gpubuf_workspace_allocate;
    Normally gpubuf_workspace_release;
    Normally gpubuf_workspace_release_name;
    Normally gpubuf_workspace_evict;
    Normally gpubuf_workspace_clear;
    Normally gpubuf_workspace_sync_all;
    Normally gpubuf_workspace_list;
    Normally gpubuf_workspace_stats_get;
    AnyTime gpubuf_tensor_options_init;
    Normally gpubuf_tensor_create;
    Ends gpubuf_tensor_destroy;
    Normally gpubuf_tensor_info_get;
    Normally gpubuf_tensor_data;
    Normally gpubuf_tensor_mark;
    Normally gpubuf_tensor_write;
    Normally gpubuf_tensor_fill;
    Normally gpubuf_tensor_publish;
    Normally gpubuf_tensor_to_host;
    Normally gpubuf_tensor_synchronize;
    Normally gpubuf_tensor_stats_get;
    AnyTime gpubuf_tiers_options_init;
    Normally gpubuf_tiers_create;
    Ends gpubuf_tiers_destroy;
    Normally gpubuf_tiers_step;
    Normally gpubuf_tiers_demote;
    Normally gpubuf_tiers_set_budget;
    Normally gpubuf_tiers_stats_get;
    Normally gpubuf_tiers_tier_get;
    Normally gpubuf_tiers_allocate;
    Normally gpubuf_tiered_block_create;
    Ends gpubuf_tiered_block_destroy;
    Normally gpubuf_tiered_block_begin;
    Normally gpubuf_tiered_block_acquire;
    Normally gpubuf_tiered_block_release;
    Normally gpubuf_tiered_block_move;
    Normally gpubuf_tiered_block_info_get;

    AnyTime gpubuf_pressure_options_init;
    Normally gpubuf_pressure_create;
    Ends gpubuf_pressure_destroy;
    Normally gpubuf_pressure_add_pool;
    Normally gpubuf_pressure_add_workspace;
    Normally gpubuf_pressure_add_pinned;
    Normally gpubuf_pressure_add_tiers;
    Normally gpubuf_pressure_step;
    Normally gpubuf_pressure_stats_get;

    AnyTime gpubuf_predictor_options_init;
    Normally gpubuf_predictor_create;
    Ends gpubuf_predictor_destroy;
    Normally gpubuf_predictor_record;
    Normally gpubuf_predictor_predict;
    Normally gpubuf_predictor_stats_get;
    Normally gpubuf_predictor_prewarm;
    Normally gpubuf_predictor_prewarm_pool;
    Normally gpubuf_predictor_suggest;

    AlsoAfterwards gpubuf_report;

    AnyTime gpubuf_ops_gather;
    AnyTime gpubuf_ops_scatter;
    AnyTime gpubuf_ops_pad;
    AnyTime gpubuf_ops_pad_in_place;
    AnyTime gpubuf_ops_offsets;
    AnyTime gpubuf_ops_flatten;
    AnyTime gpubuf_ops_split;

    Normally gpubuf_host_stream_hold;
    Normally gpubuf_host_stream_release;
    Normally gpubuf_host_stream_delay;
    Normally gpubuf_host_stream_call;
    Normally gpubuf_host_capture_begin;
    Normally gpubuf_host_capture_end;
    Normally gpubuf_host_capture_call;
    Normally gpubuf_host_graph_launch;
    Ends gpubuf_host_graph_destroy;
    InCallback gpubuf_host_view_read;
    InCallback gpubuf_host_view_write;
    Normally gpubuf_host_set_delay;
    Normally gpubuf_host_set_link;
    Normally gpubuf_host_set_pageable_late;
    Normally gpubuf_host_set_uva_stale;
    Normally gpubuf_host_fail_operation;
    Normally gpubuf_host_count_operations;
    Normally gpubuf_host_limit_memory;
    Normally gpubuf_host_lose_device;
    AnyTime gpubuf_host_time_inside_ns;

    #[cfg(feature = "mutants")]
    Normally gpubuf_mutant_disable;
    #[cfg(feature = "mutants")]
    AnyTime gpubuf_mutant_panic;
}

#[cfg(test)]
mod tests {
    use super::Entry;
    use std::collections::BTreeSet;

    #[test]
    fn the_entries_are_the_functions_of_the_header() {
        let header = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/gpubuf/gpubuf.h"))
            .expect("the header is there");
        let declared: BTreeSet<&str> = header
            .split("\nGPUBUF_API")
            .skip(1)
            .filter_map(|text| text.split('(').next()?.rsplit(|c: char| c.is_whitespace() || c == '*').next())
            .collect();
        let known: BTreeSet<&str> =
            Entry::ALL.iter().map(|entry| entry.name()).filter(|name| !name.starts_with("gpubuf_mutant_")).collect();
        assert_eq!(declared, known);
        for (number, entry) in Entry::ALL.iter().enumerate() {
            assert_eq!(*entry as usize, number);
        }
    }
}
