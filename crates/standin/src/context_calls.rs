//! The entries for contexts (driver API, "Context Management" and "Primary Context Management").

use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::code;
use crate::context::{self, Context};
use crate::driver::{self, Ordinal};
use crate::entry::Out;

/// The version that contexts of this interface report; `cuCtxCreate_v2` came with 3.2.
const API_VERSION: u32 = 3020;

entry! {
    initialised fn cuDevicePrimaryCtxRetain(context: Out<u64>, device: i32) |driver| {
        context.required()?;
        let ordinal = driver.ordinal(device)?;
        let mut primary = ordinal.primary.lock();
        let held = match &primary.context {
            Some(held) => held.clone(),
            None => context::create(ordinal, true)?,
        };
        primary.retained += 1;
        primary.context = Some(held.clone());
        context.set(held.handle)
    }
}

/// The last release destroys what the context has (driver API, `cuDevicePrimaryCtxRelease`: it is "automatically
/// reset once the last reference to it is released").
fn release(ordinal: &Ordinal) -> Result<(), i32> {
    let mut primary = ordinal.primary.lock();
    if primary.retained == 0 {
        return Err(code::INVALID_CONTEXT);
    }
    primary.retained -= 1;
    if primary.retained == 0
        && let Some(context) = primary.context.take()
    {
        drop(primary);
        context.destroy();
    }
    Ok(())
}

entry! {
    initialised fn cuDevicePrimaryCtxRelease_v2(device: i32) |driver| { release(driver.ordinal(device)?) }
}

entry! {
    initialised fn cuDevicePrimaryCtxGetState(device: i32, flags: Out<u32>, active: Out<i32>) |driver| {
        let ordinal = driver.ordinal(device)?;
        flags.required()?;
        active.set(i32::from(ordinal.primary.lock().context.is_some()))?;
        flags.set(0)
    }
}

entry! {
    initialised fn cuCtxCreate_v2(context: Out<u64>, _flags: u32, device: i32) |driver| {
        context.required()?;
        let made = context::create(driver.ordinal(device)?, false)?;
        context.set(made.handle)?;
        context::with_stack(|stack| {
            stack.push(made);
            Ok(())
        })
    }
}

entry! {
    initialised fn cuCtxDestroy_v2(context: u64) |_driver| {
        let ending = context::find(context)?;
        // Primary contexts are released instead.
        if ending.primary {
            return Err(code::INVALID_CONTEXT);
        }
        // Popped only where it is current to the caller; other threads keep the ended context (driver API).
        let popped = context::with_stack(|stack| Ok(stack.pop_if(|top| top.handle == context)));
        ending.destroy();
        drop(popped);
        Ok(())
    }
}

/// The handle that stands for a context in an answer.
fn handle_of(context: Option<&Arc<Context>>) -> u64 {
    context.map_or(0, |context| context.handle)
}

entry! {
    initialised fn cuCtxGetCurrent(context: Out<u64>) |_driver| {
        context.set(handle_of(context::current().as_ref()))
    }
}

entry! {
    initialised fn cuCtxSetCurrent(context: u64) |_driver| {
        // Null pops (driver API, `cuCtxSetCurrent`).
        let new = if context == 0 { None } else { Some(context::find(context)?) };
        let old = context::with_stack(|stack| {
            let old = stack.pop();
            stack.extend(new);
            Ok(old)
        })?;
        drop(old);
        Ok(())
    }
}

entry! {
    initialised fn cuCtxPushCurrent_v2(context: u64) |_driver| {
        let new = context::find(context)?;
        context::with_stack(|stack| {
            stack.push(new);
            Ok(())
        })
    }
}

entry! {
    initialised fn cuCtxPopCurrent_v2(context: Out<u64>) |_driver| {
        let old = context::with_stack(|stack| stack.pop().ok_or(code::INVALID_CONTEXT))?;
        context.offer(old.handle);
        Ok(())
    }
}

entry! {
    initialised fn cuCtxGetDevice(device: Out<i32>) |_driver| {
        let current = context::current().ok_or(code::INVALID_CONTEXT)?;
        device.set(current.ordinal.index)
    }
}

entry! {
    initialised fn cuCtxGetApiVersion(context: u64, version: Out<u32>) |_driver| {
        if context == 0 {
            context::current().ok_or(code::INVALID_CONTEXT)?;
        } else {
            context::find(context)?;
        }
        version.set(API_VERSION)
    }
}

entry! {
    contextual fn cuCtxSynchronize() |current| {
        current.engine.synchronize(None).map_err(|fault| current.code(fault))?;
        // A failure that came meanwhile is told here first.
        current.check()
    }
}

/// Brings lost devices back for contexts made from now on.
pub(crate) fn revive_all() {
    for ordinal in &driver::driver().ordinals {
        ordinal.lost.store(0, Ordering::Release);
    }
}
