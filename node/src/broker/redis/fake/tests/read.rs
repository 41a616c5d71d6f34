//! `read.lua`, page by page, on both servers.

use super::super::resp::Word;
use super::beside::{Twins, on_both};
use super::calls::{Commit, item, key, read_from, read_last};

/// Each item of the numbered topic has 24 + 10 bytes.
const ITEM: usize = 34;

fn numbered(number: usize) -> Word {
    item("mmmm", &number.to_string(), format!("payload{number:03}").as_bytes())
}

/// A topic of 60 items, of which 9 to 60 are kept.
fn filled(twins: &mut Twins<'_>) {
    for first in [1, 31] {
        let batch = Commit { limit: 52, ..Commit::of((first..first + 30).map(numbered)) };
        twins.answer(&batch.words());
    }
    twins.ask_for("ltrim t0:s -52 -1");
}

/// What a page with the items of these numbers looks like.
fn page(numbers: std::ops::RangeInclusive<usize>) -> Vec<String> {
    let items = numbers.clone().map(|number| numbered(number).escape_ascii().to_string());
    ["1lbirth123mmmm60".to_owned(), numbers.start().to_string()].into_iter().chain(items).collect()
}

fn nothing() -> Vec<String> {
    vec!["1lbirth123mmmm60".to_owned(), "0".to_owned()]
}

// redis 1.6
#[test]
fn a_page_begins_at_its_offset_or_at_the_oldest_item_there_is() {
    on_both(|twins| {
        filled(twins);
        for (from, count, numbers) in [
            (20, 5, 20..=24),
            (20, 16, 20..=35),
            (20, 17, 20..=36),
            (58, 10, 58..=60),
            (60, 1, 60..=60),
            (9, 256, 9..=60),
            (8, 3, 9..=11),
            (0, 3, 9..=11),
            (44, 17, 44..=60),
        ] {
            let answer = twins.answer(&read_from("t0", from, count, 1 << 20));
            assert_eq!(answer, page(numbers), "{count} from {from}");
        }
        for above in [61, 62, 1000, 99_999_999_999_999] {
            assert_eq!(twins.answer(&read_from("t0", above, 5, 1 << 20)), nothing());
        }
    });
}

// redis 1.6
#[test]
fn the_newest_items_come_in_order() {
    on_both(|twins| {
        filled(twins);
        for (count, first) in [(1, 60), (2, 59), (16, 45), (17, 44), (33, 28), (52, 9), (256, 9)] {
            assert_eq!(twins.answer(&read_last("t0", count, 1 << 20)), page(first..=60), "{count}");
        }
        assert_eq!(twins.answer(&read_last("t0", 0, 1 << 20)), nothing());
        assert_eq!(twins.answer(&read_from("t0", 9, 0, 1 << 20)), nothing());
    });
}

// redis 1.6
#[test]
fn a_page_ends_with_the_item_that_reaches_its_bytes() {
    on_both(|twins| {
        filled(twins);
        for (bytes, count) in
            [(0, 1), (1, 1), (ITEM, 1), (ITEM + 1, 2), (16 * ITEM, 16), (16 * ITEM + 1, 17), (40 * ITEM, 40)]
        {
            assert_eq!(twins.answer(&read_from("t0", 9, 256, bytes)), page(9..=8 + count), "{bytes} bytes");
            assert_eq!(twins.answer(&read_last("t0", 256, bytes)), page(61 - count..=60), "{bytes} bytes");
        }
    });
}

#[test]
fn pages_of_large_items_join() {
    on_both(|twins| {
        let items: Vec<Word> =
            (0..50_u8).map(|n| item("mmmm", &n.to_string(), &vec![n; 40 * 1024])).collect();
        twins.answer(&Commit::of(items.clone()).words());
        let (mut at, mut pages, mut seen) = (1, 0, Vec::new());
        while at <= 50 {
            let answer = twins.answer(&read_from("t0", at, 256, 256 * 1024));
            assert_eq!(answer[1], at.to_string());
            at += answer.len() as u64 - 2;
            pages += 1;
            seen.extend_from_slice(&answer[2..]);
        }
        assert_eq!(pages, 8, "seven items reach 256 KiB");
        assert!(seen == items.iter().map(|item| item.escape_ascii().to_string()).collect::<Vec<_>>());
    });
}

#[test]
fn a_topic_without_head_or_without_items_has_none() {
    on_both(|twins| {
        twins.ask_for("rpush t0:s left");
        for read in [read_last("t0", 5, 100), read_from("t0", 1, 5, 100)] {
            assert_eq!(twins.answer(&read), ["$-1", "0"]);
        }
        filled(twins);
        twins.ask_for("del t0:s");
        for read in [read_last("t0", 5, 100), read_from("t0", 1, 5, 100)] {
            assert_eq!(twins.answer(&read), nothing());
        }
    });
}

#[test]
fn numbers_close_to_1e14_are_read_in_full() {
    on_both(|twins| {
        twins.ask_for("set t0:h 1lbirth123mmmm99999999999999");
        twins.ask_for("rpush t0:s a b c");
        let head = "1lbirth123mmmm99999999999999";
        assert_eq!(twins.answer(&read_last("t0", 2, 100)), [head, "99999999999998", "b", "c"]);
        assert_eq!(twins.answer(&read_from("t0", 0, 2, 100)), [head, "99999999999997", "a", "b"]);
        assert_eq!(twins.answer(&read_from("t0", 99_999_999_999_999, 2, 100)), [head, "99999999999999", "c"]);
    });
}

#[test]
fn a_list_that_is_longer_than_its_head_says_shows_no_offset_below_one() {
    on_both(|twins| {
        twins.ask_for("set t0:h 1lbirth123mmmm2");
        twins.ask_for("rpush t0:s a b c d");
        for read in [read_last("t0", 9, 100), read_from("t0", 0, 9, 100)] {
            assert_eq!(twins.answer(&read), ["1lbirth123mmmm2", "1", "c", "d"]);
        }
    });
}

#[test]
fn a_head_that_is_none_is_corrupt_and_keys_of_another_type_are_an_error() {
    on_both(|twins| {
        for bad in
            ["", "1lbirth123mmmm", "2lbirth123mmmm1", "1lbirth123mmmm1 ", "1lbirth123mmmm100000000000000"]
        {
            twins.answer(&[b"set".to_vec(), key("t0", 'h'), bad.into()]);
            assert_eq!(twins.answer(&read_last("t0", 5, 100)), ["CORRUPT"], "{bad}");
        }
        for commands in [["del t0:h", "hset t0:h a b"], ["set t0:h 1lbirth123mmmm1", "hset t0:s a b"]] {
            for command in commands {
                twins.ask_for(command);
            }
            assert!(twins.answer(&read_from("t0", 1, 5, 100))[0].starts_with("-WRONGTYPE"));
        }
    });
}
