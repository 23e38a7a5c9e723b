//! The table of functions is whole, and calls reach them.

use gpubuf_calls::{
    Answer, CALLBACKS, CONSTANTS, FUNCTIONS, KINDS, Role, STRUCTS, call, constant, function, status_name, structure,
    values,
};

#[test]
fn every_parameter_and_field_has_a_role() {
    let params = FUNCTIONS
        .iter()
        .flat_map(|function| function.params.iter().map(|param| (function.name, param.name, param.role)));
    let in_callbacks = CALLBACKS
        .iter()
        .flat_map(|callback| callback.params.iter().map(|param| (callback.name, param.name, param.role)));
    let fields = STRUCTS
        .iter()
        .flat_map(|structure| structure.fields.iter().map(|field| (structure.name, field.name, field.role)));
    // What the library tells its callbacks is nothing that a caller could get wrong.
    let unknown: Vec<_> = params.chain(fields).filter(|(_, _, role)| *role == Role::Unknown).collect();
    assert!(unknown.is_empty(), "without a role in crates/calls/build/roles.rs: {unknown:#?}");
    assert!(in_callbacks.count() > CALLBACKS.len());
}

#[test]
fn every_function_is_there() {
    let header = include_str!("../../../include/gpubuf/gpubuf.h");
    assert_eq!(FUNCTIONS.len(), header.matches("\nGPUBUF_API").count());
    for (index, function) in FUNCTIONS.iter().enumerate() {
        assert_eq!(function.index, index);
        assert!(header.contains(&format!("{}(", function.name)), "{}", function.name);
    }
    assert_eq!(STRUCTS.len(), header.matches("\ntypedef struct").count() - KINDS.len() - 1, "and the view");
    assert_eq!(CALLBACKS.len(), header.matches("(*gpubuf_").count());
    assert!(CONSTANTS.len() > 100 && KINDS.contains(&"device") && !KINDS.contains(&"host_view"));
}

/// The places that roles name are places of what they should be.
#[test]
fn roles_name_parameters_that_are_there() {
    for function in FUNCTIONS {
        for (at, param) in function.params.iter().enumerate() {
            let place = match param.role {
                Role::Handles { count, .. } | Role::Items { count, .. } => Some((count, Role::Count { of: at })),
                Role::OutItems { capacity, .. } | Role::OutText { capacity } => {
                    Some((capacity, Role::Count { of: at }))
                }
                Role::Callback { user_data, .. } => Some((user_data, Role::UserData { of: at })),
                _ => None,
            };
            if let Some((place, role)) = place
                && !function.name.starts_with("gpubuf_ops_")
            {
                assert_eq!(function.params[place].role, role, "{}: {}", function.name, function.params[place].name);
            }
        }
    }
}

#[test]
fn calls_get_their_arguments_and_give_their_answers() {
    // SAFETY: the arguments are as the header has them, outputs are locals.
    let by_name = |name: &str, arguments: &[u64]| unsafe { call(function(name).unwrap().index, arguments) };
    assert_eq!(by_name("gpubuf_version_number", &[]), Answer::Number(constant("GPUBUF_VERSION_NUMBER").unwrap()));
    assert_eq!(by_name("gpubuf_dtype_size", &[constant("GPUBUF_DTYPE_F64").unwrap()]), Answer::Number(8));
    let mut device = 0u64;
    assert_eq!(by_name("gpubuf_device_open", &[0, &raw mut device as u64]), Answer::Status(0));
    let options = structure("gpubuf_buffer_options").unwrap();
    let mut bytes = vec![0u64; options.size / 8];
    assert_eq!(
        by_name("gpubuf_buffer_options_init", &[bytes.as_mut_ptr() as u64, options.size as u64]),
        Answer::Nothing
    );
    assert_eq!(bytes[0] as u32 as usize, options.size, "struct_size");
    assert_eq!(options.field("shape").unwrap().count, 8);
    let mut buffer = 0u64;
    let arguments = [device, bytes.as_ptr() as u64, &raw mut buffer as u64];
    let Answer::Status(refused) = by_name("gpubuf_buffer_create", &arguments) else { panic!("a status") };
    assert_eq!(status_name(refused), "GPUBUF_INVALID_ARGUMENT", "no dtype");
    assert_eq!(by_name("gpubuf_device_destroy", &[device]), Answer::Status(0));
    assert_eq!(values("GPUBUF_ACCESS_").collect::<Vec<_>>(), [1, 2]);
    assert_eq!(values("GPUBUF_HOST_AT_").count(), 3);
    assert_eq!(values("GPUBUF_HOST_").count(), 12);
}
