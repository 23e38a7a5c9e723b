//! Memory: what is given, who may touch it, how it is freed, and what is known about addresses.

mod common;
use common::*;
use std::ffi::c_void;

fn attribute<T: Default>(attribute: i32, address: u64) -> T {
    made(|data: *mut T| cuda().cuPointerGetAttribute(data.cast(), attribute, address))
}

#[test]
fn device_memory_is_given_and_freed_once() {
    let _session = session();
    let cuda = cuda();
    let (free, mut total) = (made(|free| cuda.cuMemGetInfo_v2(free, &mut 0)), 0);
    let address = device_memory(1 << 20);
    assert_eq!(free - made(|free| cuda.cuMemGetInfo_v2(free, &mut total)), 1 << 20);
    assert_eq!(total, 16 << 30);
    assert_eq!(cuda.cuMemFree_v2(address + 64), 1);
    ok(cuda.cuMemFree_v2(address));
    assert_eq!(cuda.cuMemFree_v2(address), 1);
    assert_eq!(cuda.cuMemFree_v2(0), 1);
    assert_eq!(cuda.cuMemAlloc_v2(&mut 0, 0), 1);
    assert_eq!(cuda.cuMemAlloc_v2(std::ptr::null_mut(), 64), 1);
    // Freed memory is refused.
    assert_eq!(cuda.cuMemsetD8Async(address, 1, 1, 0), 1);
    assert_eq!(cuda.cuMemcpyDtoH_v2([0u8; 4].as_mut_ptr() as u64, address, 4), 1);
}

#[test]
fn the_cpu_cannot_touch_device_memory() {
    let output = child("touch_device_memory", &[]);
    use std::os::unix::process::ExitStatusExt;
    assert_eq!(output.status.signal(), Some(libc::SIGSEGV));
}

#[test]
#[ignore = "run by another test, in a process of its own"]
fn touch_device_memory() {
    let _session = session();
    let address = device_memory(64);
    // SAFETY: none: this kills the process, which is what the test is about.
    unsafe { (address as *mut u8).write_volatile(1) };
}

#[test]
fn page_locked_memory_has_a_device_address_of_its_own() {
    let _session = session();
    let cuda = cuda();
    let pointer = made(|pointer| cuda.cuMemHostAlloc(pointer, 4096, 3));
    let address = made(|address| cuda.cuMemHostGetDevicePointer_v2(address, pointer, 0));
    assert_ne!(address, pointer);
    assert_eq!(made(|address| cuda.cuMemHostGetDevicePointer_v2(address, pointer + 100, 0)), address + 100);
    assert_eq!(made(|flags| cuda.cuMemHostGetFlags(flags, pointer)), 3);
    // Operations take either.
    ok(cuda.cuMemsetD8_v2(address, 5, 4096));
    assert_eq!(seen(pointer, 4096), [5; 4096]);
    ok(cuda.cuMemsetD8_v2(pointer, 6, 10));
    assert_eq!(seen(pointer, 10), [6; 10]);
    assert_eq!(cuda.cuMemHostGetDevicePointer_v2(&mut 0, address, 0), 1);
    assert_eq!(cuda.cuMemHostGetDevicePointer_v2(&mut 0, 4096, 0), 1);
    assert_eq!(cuda.cuMemHostAlloc(&mut 0, 64, 8), 1);
    assert_eq!(cuda.cuMemFreeHost(address), 1);
    assert_eq!(cuda.cuMemFree_v2(pointer), 1);
    ok(cuda.cuMemFreeHost(pointer));
    assert_eq!(cuda.cuMemFreeHost(pointer), 1);
    ok(cuda.cuMemFreeHost(made(|pointer| cuda.cuMemAllocHost_v2(pointer, 64))));
}

#[test]
fn managed_memory_has_one_address_for_both() {
    let _session = session();
    let cuda = cuda();
    let address = made(|address| cuda.cuMemAllocManaged(address, 64, 1));
    set(address, 64, 3);
    assert_eq!(fetch(address, 64), [3; 64]);
    ok(cuda.cuMemsetD8Async(address, 4, 64, 0));
    ok(cuda.cuCtxSynchronize());
    assert_eq!(seen(address, 64), [4; 64]);
    assert_eq!((attribute::<u8>(8, address), attribute::<u32>(2, address)), (1, 2));
    assert_eq!(cuda.cuMemAllocManaged(&mut 0, 64, 0), 1);
    ok(cuda.cuMemFree_v2(address));
    ok(cuda.gpubuf_standin_set_attribute(0, 83, 0));
    assert_eq!(cuda.cuMemAllocManaged(&mut 0, 64, 1), 801);
    ok(cuda.gpubuf_standin_set_attribute(0, 83, 1));
}

#[test]
fn limits_are_of_a_device_and_not_of_a_context() {
    let _session = session();
    let cuda = cuda();
    ok(cuda.gpubuf_standin_limit_memory(0, 1, 3 << 20));
    ok(cuda.gpubuf_standin_limit_memory(0, 0, 1 << 20));
    device_memory(2 << 20);
    assert_eq!(cuda.cuMemAlloc_v2(&mut 0, 2 << 20), 2);
    let own = made(|context| cuda.cuCtxCreate_v2(context, 0, 0));
    assert_eq!(cuda.cuMemAlloc_v2(&mut 0, 2 << 20), 2);
    assert_eq!(made(|free| cuda.cuMemGetInfo_v2(free, &mut 0)), 1 << 20);
    device_memory(1 << 20);
    pinned(1 << 20, 0);
    assert_eq!(cuda.cuMemHostAlloc(&mut 0, 1, 0), 2);
    ok(cuda.cuCtxDestroy_v2(own));
    ok(cuda.gpubuf_standin_limit_memory(0, 1, 16 << 30));
    ok(cuda.gpubuf_standin_limit_memory(0, 0, 16 << 30));
    device_memory(4 << 20);
}

#[test]
fn a_free_waits_for_the_context_and_an_ordered_one_does_not() {
    let _session = session();
    let cuda = cuda();
    let stream = side_stream();
    let ordered = made(|address| cuda.cuMemAllocAsync(address, 64, stream));
    let (other, out) = (device_memory(64), pinned(64, 0));
    hold(stream);
    ok(cuda.cuMemsetD8Async(ordered, 9, 64, stream));
    ok(cuda.cuMemcpyDtoHAsync_v2(out, ordered, 64, stream));
    let before = made(|free| cuda.cuMemGetInfo_v2(free, &mut 0));
    ok(cuda.cuMemFreeAsync(ordered, stream));
    // Its address means nothing from now on, its memory is there until the stream comes to it.
    assert_eq!(cuda.cuMemFreeAsync(ordered, stream), 1);
    assert_eq!(cuda.cuMemsetD8Async(ordered, 9, 64, stream), 1);
    assert_eq!(made(|free| cuda.cuMemGetInfo_v2(free, &mut 0)), before);
    std::thread::scope(|scope| {
        let context = made(|context| cuda.cuCtxGetCurrent(context));
        let freeing = scope.spawn(move || {
            ok(cuda.cuCtxSetCurrent(context));
            ok(cuda.cuMemFree_v2(other));
            seen(out, 64)
        });
        // The call has begun; nothing can show that it never ends while the stream is held.
        until(|| cuda.gpubuf_standin_calls(c"cuMemFree_v2".as_ptr().cast()) == 1);
        assert!(!freeing.is_finished());
        release(stream);
        assert_eq!(freeing.join().unwrap(), [9; 64]);
    });
    until(|| made(|free| cuda.cuMemGetInfo_v2(free, &mut 0)) > before);
}

#[test]
fn pools_can_be_switched_off() {
    let _session = session();
    let cuda = cuda();
    let address = made(|address| cuda.cuMemAllocAsync(address, 64, 0));
    ok(cuda.gpubuf_standin_set_attribute(0, 115, 0));
    assert_eq!(made(|value| cuda.cuDeviceGetAttribute(value, 115, 0)), 0);
    assert_eq!(cuda.cuMemAllocAsync(&mut 0, 64, 0), 801);
    assert_eq!(cuda.cuMemFreeAsync(address, 0), 801);
    ok(cuda.gpubuf_standin_set_attribute(0, 115, 1));
    ok(cuda.cuMemFreeAsync(address, 0));
}

#[test]
fn registered_memory_is_page_locked_until_it_is_unregistered() {
    let _session = session();
    let cuda = cuda();
    let (stream, target) = (side_stream(), device_memory(4096));
    let mut own = vec![1u8; 4096];
    let pointer = own.as_mut_ptr() as u64;
    ok(cuda.cuMemHostRegister_v2(pointer, 4096, 2));
    assert_eq!(cuda.cuMemHostRegister_v2(pointer + 8, 16, 0), 712);
    assert_eq!(made(|flags| cuda.cuMemHostGetFlags(flags, pointer)), 2);
    let address = made(|address| cuda.cuMemHostGetDevicePointer_v2(address, pointer, 0));
    assert_ne!(address, pointer);
    for source in [pointer, address] {
        set(pointer, 4096, 1);
        hold(stream);
        ok(cuda.cuMemcpyHtoDAsync_v2(target, source, 4096, stream));
        // Read when the copy runs, unlike other memory of the caller.
        set(pointer, 4096, 2);
        release(stream);
        ok(cuda.cuStreamSynchronize(stream));
        assert_eq!(fetch(target, 4096), [2; 4096]);
    }
    assert_eq!(cuda.cuMemHostUnregister(pointer + 8), 713);
    assert_eq!(cuda.cuMemFreeHost(pointer), 1);
    ok(cuda.cuMemHostUnregister(pointer));
    assert_eq!(cuda.cuMemHostUnregister(pointer), 713);
    // And it is pageable again.
    hold(stream);
    ok(cuda.cuMemcpyHtoDAsync_v2(target, pointer, 4096, stream));
    set(pointer, 4096, 3);
    release(stream);
    ok(cuda.cuStreamSynchronize(stream));
    assert_eq!(fetch(target, 4096), [2; 4096]);
    drop(own);
}

#[test]
fn registration_refuses_what_drivers_refuse() {
    let _session = session();
    let cuda = cuda();
    let mut own = vec![1u8; 4096];
    let pointer = own.as_mut_ptr() as u64;
    let locked = pinned(64, 0);
    assert_eq!(cuda.cuMemHostRegister_v2(0, 64, 0), 1);
    assert_eq!(cuda.cuMemHostRegister_v2(pointer, 0, 0), 1);
    assert_eq!(cuda.cuMemHostRegister_v2(pointer, 64, 16), 1);
    assert_eq!(cuda.cuMemHostRegister_v2(pointer, 64, 4), 801);
    assert_eq!(cuda.cuMemHostRegister_v2(pointer, 64, 8), 801);
    assert_eq!(cuda.cuMemHostRegister_v2(locked, 64, 0), 712);
    assert_eq!(cuda.cuMemHostUnregister(locked), 713);
    ok(cuda.gpubuf_standin_set_attribute(0, 99, 0));
    assert_eq!(cuda.cuMemHostRegister_v2(pointer, 64, 0), 801);
    ok(cuda.gpubuf_standin_set_attribute(0, 99, 1));
}

#[test]
fn addresses_tell_what_they_are() {
    let session = session();
    let cuda = cuda();
    let (device, host) = (device_memory(4096), pinned(4096, 0));
    let mut room = 0u64;
    let address = made(|address| cuda.cuMemHostGetDevicePointer_v2(address, host, 0));
    assert_eq!(attribute::<u64>(1, device + 8), session.context);
    assert_eq!([attribute::<u32>(2, device), attribute(2, host), attribute(2, address)], [2, 1, 1]);
    assert_eq!([attribute::<u64>(3, device + 8), attribute(3, host + 8)], [device + 8, address + 8]);
    assert_eq!([attribute::<u64>(4, host + 8), attribute(4, address + 8)], [host + 8, host + 8]);
    assert_eq!(cuda.cuPointerGetAttribute((&raw mut room).cast(), 4, device), 1);
    assert_eq!([attribute::<i32>(9, device), attribute(9, host)], [0, 0]);
    assert_eq!([attribute::<u64>(11, device + 8), attribute(12, device + 8)], [device, 4096]);
    assert_eq!(attribute::<u64>(11, host + 8), host);
    assert_ne!(attribute::<u64>(7, device), attribute::<u64>(7, host));
    assert_eq!(attribute::<u8>(8, device), 0);
    assert_eq!(cuda.cuPointerGetAttribute((&raw mut room).cast(), 99, device), 1);

    // What the driver does not know is an error to one function and no attributes to the other.
    let own = 0u64;
    let unknown = &raw const own as u64;
    assert_eq!(cuda.cuPointerGetAttribute((&raw mut room).cast(), 2, unknown), 1);
    let (mut kind, mut context, mut ordinal) = (9u32, 9u64, 9i32);
    let places: [*mut c_void; 3] = [(&raw mut kind).cast(), (&raw mut context).cast(), (&raw mut ordinal).cast()];
    ok(cuda.cuPointerGetAttributes(3, [2, 1, 9].as_ptr(), places.as_ptr(), unknown));
    assert_eq!((kind, context, ordinal), (0, 0, -2));
    ok(cuda.cuPointerGetAttributes(3, [2, 1, 9].as_ptr(), places.as_ptr(), host + 1));
    assert_eq!((kind, context, ordinal), (1, session.context, 0));
}
