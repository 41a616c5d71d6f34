use bytes::Bytes;

use super::*;
use crate::wire::Opcode;

fn frame(byte: u8, length: usize) -> Bytes {
    wire::frame(Opcode::Binary, &vec![byte; length])
}

/// What a socket that takes `step` bytes at a time would have been sent.
fn drain(outbox: &mut Outbox, arena: &Arena, step: usize) -> Vec<u8> {
    let (mut sent, mut gather) = (Vec::new(), Vec::new());
    loop {
        let Some(write) = outbox.next_write(arena, &mut gather) else { return sent };
        let bytes: Vec<u8> = match &write {
            Write::Contiguous(bytes) => bytes[..bytes.len().min(step)].to_vec(),
            Write::Vectored(slices) => {
                slices.iter().flat_map(|slice| slice.iter()).copied().take(step).collect()
            }
        };
        drop(write);
        outbox.advance(bytes.len());
        sent.extend(bytes);
    }
}

#[test]
fn frames_of_one_topic_grow_into_one_range() {
    let (mut arena, mut outbox) = (Arena::default(), Outbox::new(Dialect::Plain, 1));
    for byte in 0..10 {
        let piece = arena.take_in(&frame(byte, 100));
        outbox.push(&piece);
    }
    assert_eq!(outbox.pieces.len(), 1);
    assert_eq!(outbox.owed(), 1020);
}

#[test]
fn small_and_large_frames_keep_their_order_whatever_the_socket_takes() {
    for step in [1, 7, 1000, 20_000, usize::MAX] {
        let (mut arena, mut outbox) = (Arena::default(), Outbox::new(Dialect::Plain, 1));
        let frames =
            [frame(1, 10), frame(2, LARGE_FRAME), frame(3, 5), frame(4, 0), frame(5, LARGE_FRAME * 3)];
        for each in &frames {
            let piece = arena.take_in(each);
            outbox.push(&piece);
            arena.copy_in(&frame(9, 3)); // somebody else's, between ours
        }
        assert_eq!(drain(&mut outbox, &arena, step), frames.concat());
        assert_eq!(outbox.owed(), 0);
    }
}

#[test]
fn what_is_left_after_a_turn_outlives_it() {
    let (mut arena, mut outbox) = (Arena::default(), Outbox::new(Dialect::Plain, 1));
    let frames = [frame(1, 300), frame(2, LARGE_FRAME), frame(3, 300)];
    for each in &frames {
        let piece = arena.take_in(each);
        outbox.push(&piece);
    }
    outbox.advance(100);
    outbox.settle(&arena);
    arena.sweep();
    arena.copy_in(&[0xff; 2000]);
    assert_eq!(drain(&mut outbox, &arena, 4096), frames.concat()[100..]);
}

#[test]
fn cutting_keeps_the_frame_under_way_whole() {
    let (mut arena, mut outbox) = (Arena::default(), Outbox::new(Dialect::Plain, 1));
    for byte in 0..5 {
        let piece = arena.take_in(&frame(byte, 200)); // 204 bytes each
        outbox.push(&piece);
    }
    outbox.advance(300);
    assert_eq!(outbox.cut(&arena), 5 * 204 - 408);
    assert_eq!(drain(&mut outbox, &arena, usize::MAX).len(), 108);
}

#[test]
fn cutting_at_a_boundary_leaves_nothing() {
    let (mut arena, mut outbox) = (Arena::default(), Outbox::new(Dialect::Plain, 1));
    for byte in 0..3 {
        let piece = arena.take_in(&frame(byte, 10));
        outbox.push(&piece);
    }
    outbox.advance(12);
    assert_eq!(outbox.cut(&arena), 24);
    assert_eq!(outbox.owed(), 0);
}

#[test]
fn what_a_slow_peer_is_owed_grows_in_few_pieces() {
    let (mut arena, mut outbox) = (Arena::default(), Outbox::new(Dialect::Plain, 1));
    let mut expected = Vec::new();
    for round in 0..20_000_u32 {
        let small = frame(round as u8, 20);
        let piece = arena.take_in(&small);
        arena.copy_in(&frame(9, 3)); // somebody else's, between ours
        outbox.push(&piece);
        outbox.settle(&arena);
        arena.sweep();
        expected.extend_from_slice(&small);
    }
    assert!(outbox.pieces.len() < 10, "{} pieces", outbox.pieces.len());
    assert_eq!(drain(&mut outbox, &arena, 5_000), expected);
}
