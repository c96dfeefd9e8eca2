//! That names are answered: for whom an attach needs it, and, by every verb, for those who had a responder that died.

use std::net::IpAddr;

use super::dns::life::{self, Deaf, Present};
use super::error::{Error, Result};
use super::host::Host;
use super::network::Network;

impl Host {
    /// Makes sure that names are answered on the gateways of these, also on the bridges that were not there before.
    pub(super) fn answer_names<'a>(
        &self,
        mut networks: impl Iterator<Item = &'a Network>,
        fresh: &[&Network],
    ) -> Result<()> {
        let Some(starter) = &self.starter else {
            return Ok(());
        };
        let named = fresh.iter().filter(|network| network.dns);
        let gateways: Vec<IpAddr> = named.flat_map(|network| network.gateways()).collect();
        let heard = starter
            .ensure(&self.book.layout, &gateways)
            .and_then(|present| networks.try_for_each(|network| heard_on(network, &present)));
        heard.map_err(|error| {
            let hint = "a network made with --dns=false needs no responder";
            Error::new(error.kind, format!("{error} ({hint})"))
        })
    }

    /// That names of this network are answered by us, and not by who else has its gateway's port.
    ///
    /// # Errors
    /// A conflict that names both.
    pub fn check_names(&self, network: &Network) -> Result<()> {
        let present = life::look(&self.book.layout)?.unwrap_or_default();
        heard_on(network, &present)
    }

    /// Starts a responder where one is needed and none lives, as after a kill. Names are not what the caller is about,
    /// so a failure is only told.
    pub fn keep_answering(&self) {
        let kept = self.is_unanswered().and_then(|dead| match &self.starter {
            Some(starter) if dead => starter.ensure(&self.book.layout, &[]).map(drop),
            _ => Ok(()),
        });
        if let Err(error) = kept {
            log::warn!("names are not answered: {error}");
        }
    }

    /// Whether a container is on a network with names, and nobody answers them.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn is_unanswered(&self) -> Result<bool> {
        // The usual answer, which costs nothing.
        if self.starter.is_none() || life::alive(&self.book.layout)?.is_some() {
            return Ok(false);
        }
        for name in self.book.live()? {
            let network = self.book.find_network(&name)?;
            if network.is_some_and(|network| network.dns)
                && self.book.attachments(&name)?.iter().any(|one| one.done)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn heard_on(network: &Network, present: &Present) -> Result<()> {
    let is_of = |deaf: &&Deaf| network.dns && network.gateways().any(|own| own == deaf.address);
    let deaf = present.deaf.iter().find(is_of);
    deaf.map_or(Ok(()), |deaf| Err(Error::conflict(deaf)))
}
