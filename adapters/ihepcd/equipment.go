package ihepcd

import (
	"net/url"
	"strings"

	"github.com/kiln-health/kiln/adapters/format/hl7v2"
	"github.com/kiln-health/kiln/fhir"
)

// equipment is an identity of a device as OBX-18 or PRT-10 tells it. The first
// identifier and entity together identify the unit.
type equipment struct {
	identifiers []fhir.Identifier
	// entity tells units apart that share the identifier: EI-1 where an EUI-64 stands in
	// EI-3, because some senders write there the EUI-64 of the device and others that of
	// whoever gave the device the name in EI-1.
	entity string
}

func (e equipment) isZero() bool { return len(e.identifiers) == 0 }

func (e equipment) same(other equipment) bool {
	return !e.isZero() && !other.isZero() && e.identifiers[0] == other.identifiers[0] && e.entity == other.entity
}

// key is the identity of the unit as one text.
func (e equipment) key() string {
	if e.isZero() {
		return ""
	}
	return e.identifiers[0].System + "|" + e.identifiers[0].Value + "|" + e.entity
}

// rfc3986 is the system of identifiers that are URIs themselves.
// http://hl7.org/fhir/R4/datatypes.html#Identifier
const rfc3986 = "urn:ietf:rfc:3986"

// maxIdentifier is how long an identifier may be (EI-1 has 199 characters).
const maxIdentifier = 256

// sender is who sent a message, as MSH tells it.
type sender struct {
	eui           string // EUI-64 of the gateway, upper case, or ""
	app, facility string // MSH-3 and MSH-4
}

func readSender(header hl7v2.Segment) sender {
	app := header.Field(3)
	s := sender{facility: line(header.Field(4).Value())}
	if eui, ok := eui64(app.Component(2).Value()); ok && isEUILabel(app.Component(3).Value()) {
		s.eui = eui
	} else if eui, ok := eui64(app.Component(1).Value()); ok && isEUILabel(app.Component(2).Value()) {
		s.eui = eui
	}
	s.app = first(s.eui, line(app.Component(2).Value()), line(app.Component(1).Value()))
	return s
}

func (s sender) isZero() bool { return s.app == "" && s.facility == "" }

// system is that of equipment identifiers which mean something to the sender only.
func (s sender) system() string { return local("device-id", "ihepcd", "sender", s.app, s.facility) }

// eui64 is s as 16 upper-case hexadecimal digits. Separators are dropped; the
// identifiers that mean nobody (all zeros, all ones) are refused.
func eui64(s string) (string, bool) {
	s = strings.ToUpper(strings.NewReplacer("-", "", ":", "", " ", "").Replace(s))
	if len(s) != 16 || s == "0000000000000000" || s == "FFFFFFFFFFFFFFFF" {
		return "", false
	}
	for i := range len(s) {
		if !isHexDigit(s[i]) {
			return "", false
		}
	}
	return s, true
}

func isEUILabel(s string) bool {
	s = strings.ToUpper(trim(s))
	return s == "EUI-64" || s == "EUI64"
}

// isMaker tells an EUI-64 that has nothing but the number of a maker: it names whoever
// gives names, not a device.
func isMaker(eui string) bool { return eui[6:] == "0000000000" }

// readEquipment reads an entity identifier (EI): entity^namespace^universal id^type.
// What is labelled EUI-64 and is one gets the system of EUI-64; what is not keeps a
// system of ours. doubt tells what a warning says. HL7 2.9, 2.A.25
func readEquipment(ei hl7v2.Repetition, from sender) (e equipment, doubt string) {
	entity, namespace := line(ei.Component(1).Value()), line(ei.Component(2).Value())
	universal, kind := line(ei.Component(3).Value()), strings.ToUpper(line(ei.Component(4).Value()))
	if max(len(entity), len(namespace), len(universal)) > maxIdentifier {
		return e, "the equipment identifier is longer than 256 characters and is not used"
	}
	one := func(system, value string) equipment {
		return equipment{identifiers: []fhir.Identifier{{System: system, Value: value}}}
	}
	switch {
	case isEUILabel(kind):
		return readEUI(entity, universal, from)
	case universal == "" && isEUILabel(namespace):
		if eui, ok := eui64(entity); ok && !isMaker(eui) {
			return one(fhir.EUI64, eui), ""
		}
		if entity == "" {
			return e, ""
		}
		if from.isZero() {
			return e, noSender
		}
		return one(from.system(), entity), noEUI
	case universal == "":
	case kind == "ISO" && isOID(universal):
		if entity == "" {
			return one(rfc3986, "urn:oid:"+universal), ""
		}
		return one("urn:oid:"+universal, entity), ""
	case kind == "UUID" || kind == "GUID" || hasPrefix(universal, "urn:uuid:"):
		id, ok := uuid(universal)
		if !ok {
			break
		}
		if entity == "" || entity == universal {
			return one(rfc3986, "urn:uuid:"+id), ""
		}
		return one("urn:uuid:"+id, entity), ""
	case (kind == "URI" || kind == "URN" || kind == "URL") && isURI(universal):
		if entity == "" || entity == universal {
			return one(rfc3986, universal), ""
		}
		return one(universal, entity), ""
	case kind == "DNS" && entity != "":
		return one("urn:id:"+url.PathEscape(universal), entity), ""
	}
	if entity == "" && universal == "" {
		return e, ""
	}
	if id, ok := uuid(entity); ok && universal == "" {
		return one(rfc3986, "urn:uuid:"+id), ""
	}
	if hasPrefix(entity, "urn:") && isURI(entity) && universal == "" {
		return one(rfc3986, entity), ""
	}
	authority := first(universal, namespace)
	if entity == "" {
		entity, authority = universal, namespace
	}
	if authority != "" {
		return one(local("device-id", "ihepcd", authority), entity), ""
	}
	if from.isZero() {
		return e, noSender
	}
	return one(from.system(), entity), ""
}

// What warnings say of equipment identifiers.
const (
	noEUI    = "the equipment identifier is labelled EUI-64 and is none; it is taken as one of the sender's own"
	noSender = "the equipment identifier has no authority, and neither MSH-3 nor MSH-4 names the sender; it is not used"
)

// readEUI reads the form with an EUI-64 in EI-3.
func readEUI(entity, universal string, from sender) (e equipment, doubt string) {
	eui, ok := eui64(universal)
	switch {
	case !ok && entity == "" && universal == "":
		return e, ""
	case !ok && from.isZero():
		return e, noSender
	case !ok && entity != "" && universal != "":
		return equipment{identifiers: []fhir.Identifier{{System: from.system() + "/" + url.PathEscape(universal), Value: entity}}}, noEUI
	case !ok:
		return equipment{identifiers: []fhir.Identifier{{System: from.system(), Value: first(entity, universal)}}}, noEUI
	}
	if own, is := eui64(entity); entity == "" || is && own == eui {
		if isMaker(eui) {
			return e, "the EUI-64 names a maker and not a device; it is not used"
		}
		return equipment{identifiers: []fhir.Identifier{{System: fhir.EUI64, Value: eui}}}, ""
	}
	named := fhir.Identifier{System: local("device-id", "ihepcd", eui), Value: entity}
	if isMaker(eui) || eui == from.eui {
		return equipment{identifiers: []fhir.Identifier{named}}, ""
	}
	return equipment{identifiers: []fhir.Identifier{{System: fhir.EUI64, Value: eui}, named}, entity: entity}, ""
}
