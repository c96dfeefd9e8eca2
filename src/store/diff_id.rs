//! The diffID of a layer that never was an archive: computed when somebody needs it, and noted then.

use super::Store;
use super::digest::Digest;
use super::error::{OrAt, Result};
use super::id::Id;
use super::lock::{Lock, LockMode};
use super::meta::{LayerMeta, write_json};
use super::staging::Staging;
use super::transfer::Tree;
use super::watch::Watch;

impl Store {
    /// The diffID of a layer: the digest of the archive that it leaves as.
    ///
    /// # Errors
    /// Those of reading the layer; it is no error when the digest cannot be noted.
    pub fn diff_id(&self, layer: &Id, watch: &dyn Watch) -> Result<Digest> {
        if let Some(known) = self.layer(layer)?.diff_id {
            return Digest::parse(&known);
        }
        let tree = Tree::Layer(layer.clone());
        let exported = self.export(&tree, None, &mut std::io::sink(), watch)?;
        let digest = exported.diff_id;
        if let Err(error) = self.note_diff_id(layer, digest) {
            log::info!("{error}");
        }
        Ok(digest)
    }

    fn note_diff_id(&self, layer: &Id, digest: Digest) -> Result<()> {
        let above = match self.layer(layer)?.parent {
            Some(parent) => Some(self.layer(&parent)?.chain_id),
            None => None,
        };
        let chain = chain_id(above.as_ref(), digest)?;
        self.update_layer(layer, |meta| {
            meta.diff_id = Some(digest.to_string());
            meta.chain_id = chain.map(|chain| chain.to_string());
        })
    }

    /// Changes what is known of a layer, in one step for whoever reads it.
    ///
    /// # Errors
    /// `NotFound`, those of writing.
    pub(super) fn update_layer(&self, id: &Id, change: impl FnOnce(&mut LayerMeta)) -> Result<()> {
        self.update_layer_by(&Staging::new(self)?, id, change)
    }

    /// As [`Store::update_layer`], for who has a place to write to.
    ///
    /// # Errors
    /// As there.
    pub(super) fn update_layer_by(
        &self,
        staging: &Staging,
        id: &Id,
        change: impl FnOnce(&mut LayerMeta),
    ) -> Result<()> {
        let dir = self.layout().layer(id);
        let _alone = Lock::take(&dir, LockMode::Exclusive)?;
        let mut meta = self.layer(id)?;
        change(&mut meta);
        let (new, place) = (staging.scratch("layer.json"), dir.join("layer.json"));
        write_json(&new, &meta)?;
        std::fs::rename(&new, &place).or_at("cannot write", &place)
    }
}

/// `above`: that of the parent, if there is a parent.
pub(super) fn chain_id(above: Option<&Option<String>>, diff_id: Digest) -> Result<Option<Digest>> {
    let above = match above {
        None => None,
        Some(Some(above)) => Some(Digest::parse(above)?),
        // Of what is below it is not known either.
        Some(None) => return Ok(None),
    };
    Ok(Some(Digest::chain(above, diff_id)))
}
