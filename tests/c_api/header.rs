//! The functions of the header, and a program that gives each of them pointers that point to nothing.

use std::fmt::Write as _;
use std::fs;

/// A function of the header.
pub struct Function {
    pub name: String,
    pub returns: String,
    /// Type and name.
    pub parameters: Vec<(String, String)>,
}

/// Every function, read from its declaration.
pub fn functions() -> Vec<Function> {
    let header =
        fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/include/gpubuf/gpubuf.h")).expect("the header");
    header.split("\nGPUBUF_API").skip(1).map(|text| function(text.split(';').next().expect("a declaration"))).collect()
}

fn function(declaration: &str) -> Function {
    let text = declaration.replace("GPUBUF_MUST_USE", "");
    let (head, list) = text.split_once('(').expect("parameters");
    let split = |text: &str| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let at = text.rfind([' ', '*']).expect("a type and a name") + 1;
        (text[..at].trim().to_owned(), text[at..].to_owned())
    };
    let (returns, name) = split(head);
    let list = list.trim().trim_end_matches(')').trim();
    let parameters = if list == "void" { Vec::new() } else { list.split(',').map(split).collect() };
    Function { name, returns, parameters }
}

const KINDS: [&str; 18] = [
    "device",
    "stream",
    "event",
    "buffer",
    "pool",
    "block",
    "slots",
    "step",
    "graph_hold",
    "pinned",
    "reservation",
    "tensor",
    "workspace",
    "predictor",
    "staged_rows",
    "tiers",
    "tiered_block",
    "pressure",
];

/// What a parameter is, by its type and name.
#[derive(Clone, Copy, PartialEq)]
enum Role {
    /// A handle of this kind.
    Handle(&'static str),
    /// A handle of any kind.
    AnyHandle,
    /// A list of handles of this kind.
    List(&'static str),
    View,
    /// A pointer to something that is read or written.
    Data,
    Callback,
    /// Never looked at by the library.
    UserData,
    Number,
}

fn role(kind: &str, name: &str) -> Role {
    let handle = |stars: &str| {
        KINDS
            .iter()
            .copied()
            .find(|noun| kind == format!("gpubuf_{noun} {stars}") || kind == format!("const gpubuf_{noun} {stars}"))
    };
    if let Some(noun) = handle("*") {
        return Role::Handle(noun);
    }
    if let Some(noun) = handle("*const *") {
        return Role::List(noun);
    }
    match (kind, name) {
        ("gpubuf_host_view *", _) => Role::View,
        (_, "user_data" | "native_stream") => Role::UserData,
        (_, "handle") => Role::AnyHandle,
        _ if kind.ends_with("_fn") => Role::Callback,
        _ if kind.ends_with('*') => Role::Data,
        _ => Role::Number,
    }
}

/// May be NULL: the header says so.
fn may_be_null(function: &str, parameter: &str) -> bool {
    function.ends_with("_destroy")
        || parameter == "out_length"
        || parameter == "user_data"
        || matches!(
            (function, parameter),
            (
                "gpubuf_device_open" | "gpubuf_slots_create" | "gpubuf_workspace_create" | "gpubuf_pressure_create",
                "options"
            ) | ("gpubuf_device_maintain", "out_freed_bytes")
                | ("gpubuf_pool_maintain", "out_made" | "out_gone")
                | ("gpubuf_pool_trim", "out_gone")
                | ("gpubuf_predictor_create", "device" | "options")
                | ("gpubuf_staged_rows_grow", "out_moved")
                | ("gpubuf_predictor_record", "out_hit")
                | ("gpubuf_predictor_prewarm", "out_warmed_bytes")
                | ("gpubuf_predictor_prewarm_pool", "out_made" | "out_missing")
                | ("gpubuf_tiers_step", "out_promoted" | "out_demoted")
                | ("gpubuf_pressure_step", "out_changes")
                | ("gpubuf_tiers_demote", "out_bytes")
                | ("gpubuf_pinned_trim", "out_freed_bytes")
                | ("gpubuf_pinned_shares_get", "shares")
                | ("gpubuf_workspace_allocate" | "gpubuf_tensor_to_host", "stream")
                | ("gpubuf_workspace_evict", "out_evicted")
                | ("gpubuf_workspace_sync_all", "out_synced")
                | ("gpubuf_workspace_clear", "out_cleared" | "out_kept")
                | ("gpubuf_slots_abort_all", "out_aborted")
                | ("gpubuf_log_set_callback", "callback")
                | ("gpubuf_set_label", "label")
                | ("gpubuf_stream_wrap_native", "native_stream")
                | (
                    "gpubuf_buffer_fill" | "gpubuf_buffer_zero" | "gpubuf_buffer_resize" | "gpubuf_buffer_reset",
                    "stream"
                )
        )
}

/// A C expression for a parameter as it should be.
fn good(kind: &str, name: &str) -> String {
    match role(kind, name) {
        Role::Handle(noun) => format!("kit.{noun}"),
        Role::AnyHandle => "kit.event".into(),
        Role::List(noun) => format!("&kit.{noun}"),
        Role::View => "view".into(),
        Role::Callback => "NULL".into(),
        Role::UserData => "NULL".into(),
        Role::Data if kind.contains("_options") || kind.contains("_request") => {
            format!("&{}", kind.trim_start_matches("const ").trim_end_matches(" *").replace("gpubuf_", ""))
        }
        Role::Data if kind == "const gpubuf_spec *" => "&spec".into(),
        Role::Data if name.starts_with("inout_") => format!("({kind})figures"),
        // What an index operation writes must not be what it reads. As a shape the figures are 64 elements.
        Role::Data if matches!(name, "out_target" | "out_extent" | "out_pieces" | "shape") => {
            format!("({kind})figures")
        }
        Role::Data if name == "out_offsets" => format!("({kind})(figures + 2048)"),
        Role::Data if name == "label" || name == "name" => "\"ids\"".into(),
        Role::Data => format!("({kind})scratch"),
        Role::Number => match name {
            "capacity" => "sizeof scratch".into(),
            _ if name.ends_with("_count") && kind == "size_t" => "1".into(),
            "struct_size" => "4096".into(),
            "bytes" | "count" | "row_count" | "sides" | "access" | "dtype" | "rank" => "1".into(),
            "row_bytes" | "element_bytes" | "multiple" => "1".into(),
            "index_dtype" | "length_dtype" | "offset_dtype" => "GPUBUF_DTYPE_I32".into(),
            "backend" => "GPUBUF_BACKEND_HOST".into(),
            "placement" => "GPUBUF_PLACEMENT_PINNED".into(),
            "bytes_per_second" => "0".into(),
            _ => "0".into(),
        },
    }
}

/// A program that calls every function with every pointer in turn being NULL; and, for handles, one that ended, one of each
/// other kind, and pointers to things that are no objects.
pub fn pointer_cases(functions: &[Function]) -> String {
    let mut out = String::from(PRELUDE);
    let mut mains = String::new();
    for function in functions {
        // Ends everything: it has a program of its own.
        if function.name == "gpubuf_shutdown" {
            continue;
        }
        let _ = writeln!(out, "static void {}_(gpubuf_device *device) {{", function.name);
        let arguments: Vec<String> = function.parameters.iter().map(|(kind, name)| good(kind, name)).collect();
        let mut case = |place: usize, value: &str, wanted: &str| {
            let mut arguments = arguments.clone();
            arguments[place] = value.into();
            let call = format!("{}({})", function.name, arguments.join(", "));
            let case = if function.returns == "gpubuf_status" {
                format!("CASE({wanted}, {call});")
            } else {
                format!("PLAIN({call});")
            };
            let _ = writeln!(out, "  {case}");
        };
        // Without objects the arguments are good as they are: what a NULL then answers is about the NULL.
        if function.name.starts_with("gpubuf_ops_") || function.name.starts_with("gpubuf_spec_") {
            case(0, &arguments[0], "GPUBUF_OK");
        }
        for (place, (kind, name)) in function.parameters.iter().enumerate() {
            let null = if may_be_null(&function.name, name) { "ANY" } else { "GPUBUF_INVALID_ARGUMENT" };
            let null = if function.name.ends_with("_destroy") { "GPUBUF_OK" } else { null };
            // A step may end by its ticket, on another thread: destroying it then is no mistake.
            let ended = if function.name == "gpubuf_step_destroy" { "GPUBUF_OK" } else { "GPUBUF_STALE_HANDLE" };
            match role(kind, name) {
                Role::Handle(own) => {
                    case(place, "NULL", null);
                    case(place, &format!("ended.{own}"), ended);
                    for pointer in FOREIGN {
                        case(place, &format!("(void *){pointer}"), "GPUBUF_STALE_HANDLE");
                    }
                    for other in KINDS.iter().filter(|other| **other != own) {
                        case(place, &format!("(void *)kit.{other}"), "GPUBUF_WRONG_KIND");
                        case(place, &format!("(void *)ended.{other}"), "GPUBUF_STALE_HANDLE");
                    }
                }
                Role::AnyHandle => {
                    case(place, "NULL", null);
                    case(place, "ended.pool", "GPUBUF_STALE_HANDLE");
                    for pointer in FOREIGN {
                        case(place, &format!("(void *){pointer}"), "GPUBUF_STALE_HANDLE");
                    }
                    for other in KINDS {
                        case(place, &format!("kit.{other}"), "GPUBUF_OK");
                    }
                }
                Role::List(own) => {
                    case(place, "NULL", null);
                    case(place, &format!("&ended.{own}"), "GPUBUF_STALE_HANDLE");
                    case(place, "(void *)nulls", "GPUBUF_INVALID_ARGUMENT");
                    case(place, "(void *)junk", "GPUBUF_STALE_HANDLE");
                    case(place, "(void *)&kit.device", "GPUBUF_WRONG_KIND");
                    case(place, "(void *)((char *)&kit.device + 1)", "GPUBUF_INVALID_ARGUMENT");
                    case(place + 1, "1000000", "GPUBUF_INVALID_ARGUMENT");
                    case(place + 1, "SIZE_MAX", "GPUBUF_INVALID_ARGUMENT");
                }
                Role::View => {
                    case(place, "NULL", null);
                    for pointer in FOREIGN {
                        case(place, &format!("(void *){pointer}"), "GPUBUF_STALE_HANDLE");
                    }
                }
                // Outside its function a view is stale before anything else is looked at.
                Role::Data if function.name.starts_with("gpubuf_host_view_") => {
                    case(place, "NULL", "GPUBUF_STALE_HANDLE");
                }
                Role::Data | Role::Callback => case(place, "NULL", null),
                Role::UserData | Role::Number => {}
            }
        }
        let _ = writeln!(out, "  (void)device;\n}}\n");
        let _ = writeln!(mains, "  {}_(device);", function.name);
    }
    out.push_str("int main(void) {\n  prepare();\n  gpubuf_device *device = open_device();\n");
    out.push_str(&mains);
    out.push_str("  printf(\"%d cases\\n\", cases);\n  return failures != 0;\n}\n");
    out
}

/// Pointers that are no handles: a stack address, junk, and numbers that look like handles.
const FOREIGN: [&str; 6] =
    ["scratch", "1", "UINTPTR_MAX", "0x8100000001ffffff", "0xff00000001000000", "((uintptr_t)kit.pool ^ 1u << 31)"];

const PRELUDE: &str = r#"/* Generated: every function of the header with pointers that point to nothing. */
#include "kit.h"

enum { ANY = -1 };

static char scratch[4096] __attribute__((aligned(64)));
static char figures[4096] __attribute__((aligned(64)));
static void *nulls[1];
static void *junk[1] = {scratch};
static struct kit kit, ended;
static gpubuf_host_view *view;
static gpubuf_device_options device_options;
static gpubuf_buffer_options buffer_options;
static gpubuf_pool_options pool_options;
static gpubuf_block_options block_options;
static gpubuf_pinned_options pinned_options;
static gpubuf_pinned_request pinned_request;
static gpubuf_slots_options slots_options;
static gpubuf_slot_options slot_options;
static gpubuf_decode_options decode_options;
static gpubuf_workspace_options workspace_options;
static gpubuf_tensor_options tensor_options;
static gpubuf_spec spec;
static gpubuf_predictor_options predictor_options;
static gpubuf_staged_rows_options staged_rows_options;
static gpubuf_tiers_options tiers_options;
static gpubuf_pressure_options pressure_options;
static int cases, failures;

static gpubuf_device *open_device(void) {
  gpubuf_device *device = NULL;
  OK(gpubuf_device_open(NULL, &device));
  return device;
}

static void prepare(void) {
  gpubuf_device_options_init(&device_options, sizeof device_options);
  gpubuf_buffer_options_init(&buffer_options, sizeof buffer_options);
  buffer_options.dtype = GPUBUF_DTYPE_I32;
  buffer_options.rank = 1;
  buffer_options.shape[0] = 4;
  gpubuf_pool_options_init(&pool_options, sizeof pool_options);
  gpubuf_block_options_init(&block_options, sizeof block_options);
  block_options.bytes = 64;
  pool_options.block_bytes = 64;
  pool_options.block_count = 1;
  gpubuf_pinned_options_init(&pinned_options, sizeof pinned_options);
  gpubuf_pinned_request_init(&pinned_request, sizeof pinned_request);
  pinned_request.bytes = 64;
  gpubuf_slots_options_init(&slots_options, sizeof slots_options);
  gpubuf_slot_options_init(&slot_options, sizeof slot_options);
  slot_options.dtype = GPUBUF_DTYPE_I32;
  slot_options.rank = 1;
  slot_options.shape[0] = 4;
  slot_options.name = "ids";
  gpubuf_decode_options_init(&decode_options, sizeof decode_options);
  gpubuf_workspace_options_init(&workspace_options, sizeof workspace_options);
  gpubuf_tensor_options_init(&tensor_options, sizeof tensor_options);
  tensor_options.dtype = GPUBUF_DTYPE_I32;
  tensor_options.rank = 1;
  tensor_options.shape[0] = 4;
  gpubuf_spec_init(&spec, sizeof spec);
  spec.dtype = GPUBUF_DTYPE_I32;
  spec.rank = 1;
  spec.shape[0] = 4;
  gpubuf_predictor_options_init(&predictor_options, sizeof predictor_options);
  gpubuf_staged_rows_options_init(&staged_rows_options, sizeof staged_rows_options);
  staged_rows_options.dtype = GPUBUF_DTYPE_I32;
  staged_rows_options.rows = staged_rows_options.row_elements = 4;
  gpubuf_tiers_options_init(&tiers_options, sizeof tiers_options);
  tiers_options.pinned_bytes = 64;
  gpubuf_pressure_options_init(&pressure_options, sizeof pressure_options);
  gpubuf_device *device = open_device();
  ended = kit_make(device);
  kit_end(&ended);
  OK(gpubuf_device_destroy(device));
  view = (gpubuf_host_view *)scratch;
}

static void begin(gpubuf_device *device) {
  ++cases;
  memset(scratch, 0, sizeof scratch);
  memset(figures, 0, sizeof figures);
  *(uint32_t *)figures = 64;
  kit = kit_make(device);
}

static void end(int line, const char *call, int32_t wanted, int32_t got) {
  if (wanted != ANY && wanted != got) {
    char message[1100];
    gpubuf_last_error_message(message, sizeof message);
    fprintf(stderr, "line %d: %s: %s, not %s: %s\n", line, call, gpubuf_status_name(got), gpubuf_status_name(wanted), message);
    ++failures;
  }
  kit_end(&kit);
}

#define CASE(wanted, call) (begin(device), end(__LINE__, #call, wanted, call))
#define PLAIN(call) (begin(device), (void)(call), end(__LINE__, #call, ANY, 0))

"#;
