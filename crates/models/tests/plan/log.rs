//! The log: a message is heard at the next delivery or not at all, whatever becomes of its sink.

use gpubuf_models::config::log::{self, Level, Sink};
use gpubuf_models::plan::check;
use shuttle::thread;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn a_sink_goes_while_another_comes() {
    let heard = Arc::new(AtomicUsize::new(0));
    let sink: Sink = {
        let heard = heard.clone();
        Arc::new(move |_, _| {
            heard.fetch_add(1, Ordering::SeqCst);
        })
    };
    let goes = thread::spawn(|| log::set_sink(None));
    log::set_sink(Some(sink.clone()));
    log::write(Level::Info, format_args!("one"));
    goes.join().unwrap();
    log::deliver();
    let before = heard.load(Ordering::SeqCst);
    log::set_sink(Some(sink));
    log::write(Level::Info, format_args!("another"));
    log::deliver();
    assert_eq!(heard.load(Ordering::SeqCst), before + 1, "the first came late");
    log::set_sink(None);
}

#[test]
fn every_plan() {
    check("a sink goes while another comes", 2, 500, a_sink_goes_while_another_comes);
}
