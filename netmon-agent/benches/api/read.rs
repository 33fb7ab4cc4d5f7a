//! One look at a monitor.

use std::{hint::black_box, thread, time::Duration};

use anyhow::{Result, ensure};
use netmon_agent::{health::State, time::Mono};
use netmon_client::Monitor;

use crate::world::World;

const READS: u32 = 50_000_000;

pub(crate) fn measure() -> Result<()> {
    let mut world = World::new()?;
    world.publish(State::Up);
    let monitor = Monitor::connect(world.socket())?;
    let deadline = Mono::now() + Duration::from_secs(10);
    while !monitor.is_up() && Mono::now() < deadline {
        thread::sleep(Duration::from_millis(1));
    }
    let started = Mono::now();
    let up = (0..READS).filter(|_| black_box(&monitor).is_up()).count();
    let took = Mono::now().since(started);
    ensure!(up == READS as usize, "{up} of {READS} reads said up");
    println!("Monitor::is_up(): {:.2} ns a read", took.as_nanos() as f64 / f64::from(READS));
    Ok(())
}
