//! The traps of a transport's settings.

use adit_node::settings::Congestion;
use bench_network::run;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    task::spawn_local,
    time::sleep,
};

use crate::traffic::{Ends, MS, SECOND, SENDER};
use adit_node::{link::transport::STREAM_WINDOW_BYTES, upgrade::Raw};

#[test]
fn a_reader_that_stops_costs_one_window_and_no_other_stream_waits() {
    run("delay=10ms rate=100mbit queue=50ms".parse().unwrap(), 1, async |network| {
        let ends = Ends::new(&network, Congestion::Adaptive).await;
        let (send, receive) = ends.asking.open().await.unwrap();
        let mut unread = Raw::new(send, receive);
        unread.write_all(b"go").await.unwrap();
        let (send, receive) = ends.answering.accept(0).await.unwrap();
        spawn_local(async move {
            let mut stream = Raw::new(send, receive);
            while stream.write_all(&[7; 32 * 1024]).await.is_ok() {}
        });
        sleep(5 * SECOND).await;
        let bytes = network.counts(SENDER).bytes;
        let window = u64::from(STREAM_WINDOW_BYTES);
        assert!((window..window * 11 / 10).contains(&bytes), "{bytes} bytes were sent");
        ends.serve(10_000);
        assert_eq!(ends.exchange(1000).await, 10_000);
        drop(unread);
    });
}

#[test]
fn a_full_window_of_holes_does_not_kill_the_link() {
    run("delay=75ms loss=10% rate=500mbit queue=50ms".parse().unwrap(), 1, async |network| {
        let ends = Ends::new(&network, Congestion::Adaptive).await;
        let (send, receive) = ends.asking.open().await.unwrap();
        let mut stream = Raw::new(send, receive);
        stream.write_all(b"go").await.unwrap();
        let (send, receive) = ends.answering.accept(0).await.unwrap();
        spawn_local(async move {
            let mut stream = Raw::new(send, receive);
            while stream.write_all(&[7; 32 * 1024]).await.is_ok() {}
        });
        // It reads now and then, so that the window is full of what comes after a hole.
        let mut buffer = vec![0; 1024 * 1024];
        for _ in 0..20 {
            sleep(200 * MS).await;
            assert!(stream.read(&mut buffer).await.unwrap() > 0);
        }
        assert!(ends.asking.close_reason().is_none(), "{:?}", ends.asking.close_reason());
    });
}
