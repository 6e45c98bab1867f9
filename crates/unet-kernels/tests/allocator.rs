//! What is freed goes back to the system: alone in its process, whose memory is looked at.
#![cfg(all(target_os = "linux", target_env = "gnu"))]

/// Bytes of this process that are in memory.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("the system tells");
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).expect("a line");
    line.split_whitespace().next().and_then(|n| n.parse::<usize>().ok()).expect("a number") << 10
}

/// Guards against blocks that are kept in pieces: every second one of many is freed, which glibc would hold once it has seen larger ones.
#[test]
fn every_second_block_is_given_back() {
    unet_kernels::give_back_freed_blocks();
    drop(std::hint::black_box(vec![1u8; 30 << 20]));
    let mut blocks: Vec<Vec<u8>> = (0..64).map(|_| std::hint::black_box(vec![1u8; 4 << 20])).collect();
    let full = resident();
    blocks.iter_mut().step_by(2).for_each(|block| *block = Vec::new());
    let given = full.saturating_sub(resident());
    assert!(given > 120 << 20, "{} of 128 MiB given back", given >> 20);
    assert_eq!(blocks.iter().filter(|b| b.len() == 4 << 20).count(), 32);
}
