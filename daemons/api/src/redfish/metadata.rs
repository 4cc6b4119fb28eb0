//! `$metadata`: which schemas the resources here are of, and the one of our own.
//!
//! DMTF's schemas are referred to where DMTF publishes them; the one for what the reference calls `Oem.PiKVM` is served here.

use super::Answer;
use actix_web::HttpResponse;

/// Schema files of DMTF, the namespaces that are used of each, and whether each is a collection without versions.
const SCHEMAS: &[(&str, &str)] = &[
    ("ServiceRoot", "v1_6_0"),
    ("ComputerSystemCollection", ""),
    ("ComputerSystem", "v1_10_0"),
    ("ChassisCollection", ""),
    ("Chassis", "v1_10_0"),
    ("ManagerCollection", ""),
    ("Manager", "v1_15_0"),
    ("VirtualMediaCollection", ""),
    ("VirtualMedia", "v1_4_0"),
    ("SessionService", "v1_1_8"),
    ("SessionCollection", ""),
    ("Session", "v1_3_0"),
    ("AccountService", "v1_5_0"),
    ("RoleCollection", ""),
    ("Role", "v1_2_4"),
    ("MessageRegistryFileCollection", ""),
    ("MessageRegistryFile", "v1_1_0"),
    ("Message", "v1_1_2"),
    ("Resource", "v1_0_0"),
];

const OWN: &str = "PiKVMVirtualMedia";

pub(super) async fn document() -> Answer {
    Ok(xml(describe()))
}

fn describe() -> String {
    let mut text = String::from(concat!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n",
        "<edmx:Edmx xmlns:edmx=\"http://docs.oasis-open.org/odata/ns/edmx\" Version=\"4.0\">\n",
    ));
    for (name, version) in SCHEMAS {
        let uri = format!("https://redfish.dmtf.org/schemas/v1/{name}_v1.xml");
        refer(&mut text, &uri, name, version);
    }
    refer(&mut text, &format!("/redfish/v1/Schemas/{OWN}_v1.xml"), OWN, "v1_0_0");
    text.push_str(concat!(
        "  <edmx:DataServices>\n",
        "    <Schema xmlns=\"http://docs.oasis-open.org/odata/ns/edm\" Namespace=\"Service\">\n",
        "      <EntityContainer Name=\"Service\" Extends=\"ServiceRoot.v1_6_0.ServiceContainer\"/>\n",
        "    </Schema>\n",
        "  </edmx:DataServices>\n",
        "</edmx:Edmx>\n",
    ));
    text
}

fn refer(text: &mut String, uri: &str, name: &str, version: &str) {
    text.push_str(&format!("  <edmx:Reference Uri=\"{uri}\">\n    <edmx:Include Namespace=\"{name}\"/>\n"));
    if !version.is_empty() {
        text.push_str(&format!("    <edmx:Include Namespace=\"{name}.{version}\"/>\n"));
    }
    text.push_str("  </edmx:Reference>\n");
}

pub(super) async fn own_schema() -> Answer {
    Ok(xml(OWN_SCHEMA.to_owned()))
}

const OWN_SCHEMA: &str = include_str!("PiKVMVirtualMedia_v1.xml");

fn xml(text: String) -> HttpResponse {
    HttpResponse::Ok().content_type("application/xml; charset=utf-8").body(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_is_referred_to_once_and_every_version_included() {
        let text = describe();
        for (name, version) in SCHEMAS {
            assert_eq!(text.matches(&format!("/{name}_v1.xml\"")).count(), 1, "{name}");
            let namespace = if version.is_empty() { (*name).to_owned() } else { format!("{name}.{version}") };
            assert!(text.contains(&format!("Namespace=\"{namespace}\"")), "{namespace}");
        }
        assert_eq!(text.matches("<edmx:Reference").count(), text.matches("</edmx:Reference>").count());
        assert!(OWN_SCHEMA.contains("Namespace=\"PiKVMVirtualMedia.v1_0_0\""));
    }
}
