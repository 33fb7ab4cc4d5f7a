//! What happens to the wires, in turns: flaps of 1 Hz, a calm, one long cut, loss of TCP.

use std::time::Duration;

use anyhow::Result;
use netmon_agent::time::Boot;
use netmon_tests::lab::{Place, Switch, Way, What, World};

use super::{Load, lock};

/// Half of the period of a flap.
const HALF: Duration = Duration::from_millis(500);

impl Load {
    /// Breaks and mends until the end; each turn leaves the world whole.
    pub(super) fn break_in_turns(&self, world: &World) -> Result<()> {
        let switch = Switch::new(&world.gateways[0], "lan0")?;
        let lasts = |seconds: f64| Duration::from_secs_f64(seconds * self.pace);
        loop {
            let Some(turn) = self.turn() else { return Ok(()) };
            let flaps = (20.0 * self.pace).ceil() as u32;
            for n in 1..=flaps {
                self.cut(&switch, HALF)?;
                self.mend(world, &switch, n == flaps)?;
                self.count("flaps", 1.0);
                self.pause(HALF);
            }
            drop(turn);
            self.between(lasts(20.0));

            let Some(turn) = self.turn() else { return Ok(()) };
            self.cut(&switch, lasts(12.0).max(Duration::from_secs(2)))?;
            self.mend(world, &switch, true)?;
            self.count("cuts", 1.0);
            drop(turn);
            self.between(lasts(20.0));

            let Some(turn) = self.turn() else { return Ok(()) };
            let fault = world.lose(Place::Uplink(0), Way::FromNode, What::TcpLoss(10.0))?;
            self.pause(lasts(15.0));
            fault.mend()?;
            self.count("losses", 1.0);
            drop(turn);
            self.between(lasts(10.0));
        }
    }

    fn cut(&self, switch: &Switch, lasts: Duration) -> Result<()> {
        {
            // Locked meanwhile: who is released by it is judged when it is known.
            let mut truth = lock(&self.truth);
            let begun = Boot::now();
            switch.set(false)?;
            truth.cut(begun, Boot::now());
        }
        self.pause(lasts);
        Ok(())
    }

    /// Gives the carrier back; with `all`, the gateway's IPv6 addresses too, which went with it.
    fn mend(&self, world: &World, switch: &Switch, all: bool) -> Result<()> {
        let mut truth = lock(&self.truth);
        let before = Boot::now();
        if all {
            world.carrier_up(0)?;
        } else {
            switch.set(true)?;
        }
        truth.mended(before, Boot::now());
        Ok(())
    }
}
