//! A workspace: an entry that queued work may use for ever is no holder's to release, and none outlives the end of the workspace.

use gpubuf_models::config::{ALL, Placement, Timeout};
use gpubuf_models::device::Opening;
use gpubuf_models::dtype::{Dtype, Shape};
use gpubuf_models::error::Status;
use gpubuf_models::fence::Access;
use gpubuf_models::plan::check;
use gpubuf_models::sync::Arc;
use gpubuf_models::workspace::{Content, Held, Spec, Workspace, WorkspaceOptions};
use shuttle::thread;

const TRY: Timeout = Timeout::Try;

fn spec(bytes: u64) -> Spec {
    Spec::new(Dtype::U8, Shape::new(&[bytes]).expect("a shape"), Placement::Pinned, Placement::Device).expect("a spec")
}

fn workspace(opening: &Opening, max_entries: u32) -> Arc<Workspace> {
    let options = WorkspaceOptions { max_entries, ..WorkspaceOptions::default() };
    Workspace::create(&opening.device, options).expect("a workspace")
}

/// What a release does; the holder where it is refused.
fn release(workspace: &Workspace, held: Held) -> Option<Held> {
    match held.expect_releasable_to(workspace) {
        Ok(()) => None,
        Err(error) => {
            assert!([Status::Unfenced, Status::Busy].contains(&error.status()));
            Some(held)
        }
    }
}

/// Both holders of an entry whose address is out release it: whoever is last is refused.
fn two_holders_release_a_sealed_entry() {
    let opening = Opening::new();
    let workspace = workspace(&opening, 0);
    let one = workspace.get("x", &spec(4), TRY).expect("a buffer");
    let two = workspace.find("x", TRY).expect("the same");
    one.device_address(&[]).expect("an address");
    let other = thread::spawn({
        let workspace = workspace.clone();
        move || release(&workspace, two)
    });
    let left = [release(&workspace, one), other.join().unwrap()];
    let left = left.into_iter().flatten().next().expect("released, and nobody declared what uses it");
    left.used_on(&opening.stream(), Access::Read).expect("declared");
    assert!(release(&workspace, left).is_none());
    workspace.destroy();
    drop(workspace);
    opening.end();
}

/// A sync of all that passes by is no other holder.
fn a_release_during_a_sync_of_all() {
    let opening = Opening::new();
    let workspace = workspace(&opening, 0);
    let stream = opening.stream();
    let held = workspace.get("x", &spec(4), TRY).expect("a buffer");
    held.device_address(&[]).expect("an address");
    let syncing = thread::spawn({
        let (workspace, stream) = (workspace.clone(), stream.clone());
        move || drop(workspace.sync_all(&stream))
    });
    let held = release(&workspace, held).expect("nobody declared what uses it");
    syncing.join().unwrap();
    held.used_on(&stream, Access::Read).expect("declared");
    assert!(release(&workspace, held).is_none());
    workspace.destroy();
    drop(workspace);
    opening.end();
}

/// The workspace ends while somebody waits for the uses of a free entry: that goes, too.
fn destroy_while_somebody_waits_for_room() {
    let opening = Opening::new();
    let workspace = workspace(&opening, 2);
    let stream = opening.stream();
    let kept = workspace.get("kept", &spec(4), TRY).expect("a buffer");
    let free = workspace.allocate(&spec(4), Content::Any, TRY).expect("a buffer");
    free.copy(true, 0, ALL, &stream, None).expect("a copy");
    drop(free);
    let waiter = thread::spawn({
        let workspace = workspace.clone();
        move || workspace.allocate(&spec(8), Content::Any, Timeout::Infinite).map(drop)
    });
    workspace.destroy();
    if let Err(error) = waiter.join().unwrap() {
        assert_eq!(error.status(), Status::ShutDown);
    }
    assert_eq!(workspace.stats().entries, 1, "only what is held");
    drop(kept);
    drop(workspace);
    opening.end();
}

#[test]
fn every_plan() {
    check("two holders of a sealed entry", 1, 500, two_holders_release_a_sealed_entry);
    check("release against a sync of all", 1, 500, a_release_during_a_sync_of_all);
    check("destroy against a wait for room", 1, 500, destroy_while_somebody_waits_for_room);
}
