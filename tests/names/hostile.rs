//! Clients that mean harm, or do it by accident.

use std::io::{Read, Write};

use hickory_proto::rr::RecordType::A;

use crate::rig::*;
use crate::support::dice::Dice;

#[test]
fn slow_clients_delay_nobody() {
    on_host("slow_clients_delay_nobody", |host| {
        host.network("blue", &["10.61.0.0/24"]);
        host.attach("blue", "web", &[], &["10.61.0.2"]);
        let _serving = host.serve();
        assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
        // Half a length, half a message, a question whose reply nobody reads, and silence.
        let whole = question("web.", A).to_vec().unwrap();
        let mut slow = Vec::new();
        for i in 0..40 {
            let mut stream = tcp("10.61.0.1");
            let said: &[u8] = match i % 4 {
                0 => &[0],
                1 => &[0, 40, 1, 2, 3],
                2 => &[&[0, whole.len() as u8], &whole[..]].concat(),
                _ => &[],
            };
            // Too many of one client are closed at once.
            let _ = stream.write_all(said);
            slow.push(stream);
            assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
        }
        // Whoever does not hurry is sent away, even one who goes on sending.
        for stream in &mut slow {
            let mut bytes = Vec::new();
            // An end, or a reset: the connection is over.
            let _ = stream.read_to_end(&mut bytes);
        }
        let mut stream = tcp("10.61.0.1");
        send_tcp(&mut stream, &question("web.", A));
        assert_eq!(words(&read_tcp(&mut stream)), "10.61.0.2");
    });
}

#[test]
fn nonsense_gets_at_most_a_short_reply() {
    on_host("nonsense_gets_at_most_a_short_reply", |host| {
        host.network("blue", &["10.61.0.0/24"]);
        host.attach("blue", "web", &["all"], &["10.61.0.2"]);
        let mut serving = host.serve();
        assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
        let mut dice = Dice::new(dice_seed());
        let socket = socket("10.61.0.1");
        socket.set_nonblocking(true).unwrap();
        let good = with_edns(question("web.blue.plynet.", A), 1232)
            .to_vec()
            .unwrap();
        let mut buffer = [0; 65535];
        for round in 0..5000 {
            let mut bytes = good.clone();
            for _ in 0..dice.roll(8) {
                let at = dice.roll(bytes.len());
                bytes[at] = dice.roll(256) as u8;
            }
            if dice.roll(4) == 0 {
                bytes.truncate(dice.roll(bytes.len()));
            }
            if dice.roll(8) == 0 {
                let longer = bytes.len() + dice.roll(4000);
                bytes.resize(longer, dice.roll(256) as u8);
            }
            socket.send(&bytes).unwrap();
            while let Ok(length) = socket.recv(&mut buffer) {
                assert!((12..=1232).contains(&length), "{length} bytes");
                assert!(buffer[2] & 0x80 != 0, "a reply says so");
            }
            if round % 50 == 0 {
                let mut stream = tcp("10.61.0.1");
                let length = dice.roll(bytes.len() + 20) as u16;
                // It may be sent away before all is written.
                let _ = stream.write_all(&[&length.to_be_bytes()[..], &bytes].concat());
                assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
            }
        }
        assert_eq!(ask("10.61.0.1", "web.", A), "10.61.0.2");
        assert!(!serving.has_ended());
    });
}

fn dice_seed() -> u64 {
    let seed = std::env::var("PLYFS_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
    println!("PLYFS_SEED={seed} repeats this");
    seed
}
