//! What leaves the store as an image: an image of the store, or a layer with all below it.

use serde_json::{Value, json};

use super::ImageMeta;
use super::format::{diff_ids, new_config, parse};
use crate::store::Store;
use crate::store::digest::Digest;
use crate::store::error::Result;
use crate::store::id::Id;
use crate::store::watch::Watch;

/// An image that is about to leave.
pub struct Leaving {
    pub(super) config: Vec<u8>,
    pub(super) manifest: Option<Vec<u8>>,
    pub(super) layers: Vec<Id>,
}

impl Leaving {
    /// The id it will be known by.
    pub fn id(&self) -> String {
        Digest::of(&self.config).hex()
    }
}

impl Store {
    /// An image as it is.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn leaving_image(&self, image: &ImageMeta) -> Result<Leaving> {
        Ok(Leaving {
            config: self.image_config(&image.id)?,
            manifest: self.image_manifest(image)?,
            layers: image.layers.clone(),
        })
    }

    /// A layer and all below it as an image. It has the configuration of the image that it stands on, if it stands on
    /// one, and what was said when it and those in between were committed.
    ///
    /// # Errors
    /// Those of reading the layers: digests that are not known yet are computed.
    pub fn leaving_layer(&self, layer: &Id, watch: &dyn Watch) -> Result<Leaving> {
        let mut chain = self.chain(layer)?;
        chain.reverse();
        let layers: Vec<Id> = chain.iter().map(|layer| layer.id.clone()).collect();
        // What is damaged lends no configuration.
        let images = self.all_images(|error| log::warn!("{error}"))?;
        let below = images
            .iter()
            .filter(|image| layers.starts_with(&image.layers))
            .max_by_key(|image| image.layers.len());
        let (mut config, known) = match below {
            Some(image) => {
                let config = self.image_config(&image.id)?;
                (
                    parse::<Value>("configuration", &config)?,
                    diff_ids(&config)?,
                )
            }
            None => (new_config(&[], ""), Vec::new()),
        };
        let mut digests = known.clone();
        for meta in &chain[known.len().min(chain.len())..] {
            digests.push(self.diff_id(&meta.id, watch)?);
            let history = json!({
                "created": meta.created, "created_by": "plyfs container commit",
                "author": meta.author, "comment": meta.message,
            });
            let history = history
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(_, v)| !v.is_null());
            let history: Value = history.map(|(k, v)| (k.clone(), v.clone())).collect();
            match config["history"].as_array_mut() {
                Some(all) => all.push(history),
                None => config["history"] = json!([history]),
            }
            config["created"] = json!(meta.created);
            for (key, value) in &meta.config {
                // `Cmd=["a"]` is a list, `User=me` is a word.
                config["config"][key] =
                    serde_json::from_str(value).unwrap_or_else(|_| json!(value));
            }
        }
        config["rootfs"] = json!({ "type": "layers", "diff_ids": digests });
        Ok(Leaving {
            config: config.to_string().into_bytes(),
            manifest: None,
            layers,
        })
    }
}
