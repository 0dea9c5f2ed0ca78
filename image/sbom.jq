# Rows (part, name, version, architecture, SHA-256; tabs between) into an SPDX 2.3 document.
def id: "SPDXRef-" + gsub("[^A-Za-z0-9.-]"; "-");
def declared: { downloadLocation: "NOASSERTION", filesAnalyzed: false, licenseConcluded: "NOASSERTION", licenseDeclared: "NOASSERTION", copyrightText: "NOASSERTION" };
def sums($sha): if $sha == "" then {} else { checksums: [ { algorithm: "SHA256", checksumValue: $sha } ] } end;
def purl: if .part == "crate" then "pkg:cargo/\(.name)@\(.version | @uri)"
  elif .name == "toolmaster" then "pkg:deb/\(.name)@\(.version | @uri)?arch=\(.architecture)"
  else "pkg:deb/debian/\(.name | @uri)@\(.version | @uri)?arch=\(.architecture)&distro=\($suite)" end;
def reference: "\(.part)-\(.name)-\(.version)-\(.architecture)" | id;

[ inputs | split("\t") | { part: .[0], name: .[1], version: .[2], architecture: .[3], sha: .[4] } ] as $rows
| ($rows | map(select(.part == "system" and .name == "toolmaster") | reference) | first) as $program
| {
  spdxVersion: "SPDX-2.3",
  dataLicense: "CC0-1.0",
  SPDXID: "SPDXRef-DOCUMENT",
  name: $image,
  documentNamespace: "urn:sha256:\($sha)",
  creationInfo: { created: $created, creators: [ "Tool: scripts/image" ] },
  packages: (
    [ declared + { SPDXID: "SPDXRef-image", name: $image } + sums($sha),
      declared + { SPDXID: "SPDXRef-container", name: "postgres", versionInfo: $container } ]
    + ($rows | map(declared + {
        SPDXID: reference, name, versionInfo: .version,
        externalRefs: [ { referenceCategory: "PACKAGE-MANAGER", referenceType: "purl", referenceLocator: purl } ]
      } + sums(.sha)))
  ),
  relationships: (
    [ { spdxElementId: "SPDXRef-DOCUMENT", relationshipType: "DESCRIBES", relatedSpdxElement: "SPDXRef-image" },
      { spdxElementId: "SPDXRef-image", relationshipType: "CONTAINS", relatedSpdxElement: "SPDXRef-container" } ]
    + ($rows | map({
        spdxElementId: (if .part == "crate" then $program elif .part == "container" then "SPDXRef-container" else "SPDXRef-image" end),
        relationshipType: (if .part == "crate" then "STATIC_LINK" else "CONTAINS" end),
        relatedSpdxElement: reference
      }))
  )
}
