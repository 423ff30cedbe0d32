//! The XMP packet of a picture: the IPTC's word for "made by an algorithm", and our settings where the format has no
//! better place for them.
//!
//! ISO 16684-1 (XMP); IPTC Photo Metadata Standard 2023.1, Digital Source Type.

/// IPTC's name of what we make.
pub(super) const TRAINED_ALGORITHMIC_MEDIA: &str =
    "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia";
/// Our namespace; nothing is served there.
const NAMESPACE: &str = "https://tintype.dev/ns/1.0/";

/// A packet, with our settings as the property `tintype:request`.
pub(super) fn packet(settings: Option<&str>) -> String {
    let settings = settings.map_or_else(String::new, |json| {
        format!("<tintype:request xmlns:tintype=\"{NAMESPACE}\">{}</tintype:request>", escape(json))
    });
    format!(
        "<?xpacket begin=\"\u{feff}\" id=\"W5M0MpCehiHzreSzNTczkc9d\"?>\
         <x:xmpmeta xmlns:x=\"adobe:ns:meta/\">\
         <rdf:RDF xmlns:rdf=\"http://www.w3.org/1999/02/22-rdf-syntax-ns#\">\
         <rdf:Description rdf:about=\"\" xmlns:xmp=\"http://ns.adobe.com/xap/1.0/\" \
         xmlns:Iptc4xmpExt=\"http://iptc.org/std/Iptc4xmpExt/2008-02-29/\">\
         <xmp:CreatorTool>Tintype {version}</xmp:CreatorTool>\
         <Iptc4xmpExt:DigitalSourceType>{TRAINED_ALGORITHMIC_MEDIA}</Iptc4xmpExt:DigitalSourceType>\
         {settings}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end=\"r\"?>",
        version = env!("CARGO_PKG_VERSION"),
    )
}

/// Text between tags. JSON has no raw control characters, which XML could not say.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
