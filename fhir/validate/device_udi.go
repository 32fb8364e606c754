package validate

import (
	"bytes"
	"strings"

	"github.com/kiln-health/kiln/fhir"
)

// The agencies that issue UDIs.
const (
	gs1 = iota + 1
	hibcc
	iccbba
)

// fdaUDI is the jurisdiction of the FDA.
const fdaUDI = "http://hl7.org/fhir/NamingSystem/fda-udi"

// issuers are the URIs of R4 and those that are seen for the same.
// http://hl7.org/fhir/R4/device-definitions.html#Device.udiCarrier.issuer
var issuers = map[string]int{
	"http://hl7.org/fhir/NamingSystem/gs1-di":          gs1,
	"http://hl7.org/fhir/NamingSystem/gs1":             gs1,
	"http://hl7.org/fhir/NamingSystem/hibcc-dI":        hibcc, // as R4 spells it
	"http://hl7.org/fhir/NamingSystem/hibcc-di":        hibcc,
	"http://hl7.org/fhir/NamingSystem/hibcc":           hibcc,
	"http://hl7.org/fhir/NamingSystem/iccbba-blood-di": iccbba,
	"http://hl7.org/fhir/NamingSystem/iccbba-blood":    iccbba,
	"http://hl7.org/fhir/NamingSystem/iccbba-other-di": iccbba,
	"http://hl7.org/fhir/NamingSystem/iccbba-other":    iccbba,
}

// maxUDI is the length of the longest text that is looked at: several times that of any UDI.
const maxUDI = 512

// udi is what the rules demand of a udiCarrier, or of the identifier of a definition, which
// has no human-readable form.
func udi(c *class) check {
	identifier, issuer, jurisdiction, form := c.ordinal("deviceIdentifier"), c.ordinal("issuer"), c.ordinal("jurisdiction"), c.ordinal("carrierHRF")
	return func(w *walker, n int, _ uint64) bool {
		if w.opt.DeviceRules == Ignored {
			return true
		}
		agency, stated := issuers[string(w.text(w.child(n, issuer)))], w.child(n, issuer) >= 0
		if stated && agency == 0 && string(w.textIn(1, w.child(n, jurisdiction))) == fdaUDI && w.finds(ruleUDI) {
			w.finding(ruleUDI, fhir.CodeValue, "issuer", int(w.nodes[w.child(n, issuer)].start),
				"the issuer is none that the FDA accredited", "send the URI of GS1, HIBCC or ICCBBA: http://hl7.org/fhir/NamingSystem/gs1-di, …")
		}
		di, hrf := w.child(n, identifier), w.child(n, form)
		text := string(short(w.textIn(1, hrf)))
		if !stated {
			agency = issuerOf(text)
		}
		if text != "" {
			w.humanReadable(agency, hrf, text)
		}
		if id := string(short(w.textIn(1, di))); id != "" {
			w.deviceIdentifier(agency, di, id, text)
		}
		return true
	}
}

// short is a text that is not too long to be a UDI.
func short(text []byte) []byte {
	if len(text) > maxUDI {
		return nil
	}
	return bytes.TrimSpace(text)
}

// issuerOf is the agency whose form a text has, 0 if that cannot be told.
func issuerOf(form string) int {
	switch {
	case strings.HasPrefix(form, "(01)"):
		return gs1
	case strings.HasPrefix(form, "+"):
		return hibcc
	case strings.HasPrefix(form, "=") || strings.HasPrefix(form, "&"):
		return iccbba
	}
	return 0
}

// deviceIdentifier checks the fixed part of a UDI.
func (w *walker) deviceIdentifier(agency, k int, id, form string) {
	shape := func(message, fix string) {
		if w.finds(ruleUDI) {
			w.finding(ruleUDI, fhir.CodeValue, "deviceIdentifier", int(w.nodes[k].start), message, fix)
		}
	}
	switch agency {
	case gs1:
		switch {
		case !allDigits(id) || len(id) != 8 && len(id) != 12 && len(id) != 13 && len(id) != 14:
			shape("the identifier is no GTIN", "send the 14 digits after (01)")
			return
		case mod10(id[:len(id)-1]) != id[len(id)-1]:
			if w.finds(ruleUDICheck) {
				w.finding(ruleUDICheck, fhir.CodeValue, "deviceIdentifier", int(w.nodes[k].start), "the check digit of the GTIN is wrong", "compare it with the label")
			}
		case len(id) < 14:
			shape("the GTIN is shorter than 14 digits", "put zeros before it")
		}
		if len(form) >= 18 && strings.HasPrefix(form, "(01)") && form[4:18] != strings.Repeat("0", 14-len(id))+id {
			shape("the identifier is not the one of the human-readable form", "send the 14 digits after (01)")
		}
	case hibcc:
		id = strings.TrimPrefix(id, "+")
		switch {
		case len(id) < 6 || len(id) > 24 || !hibcText(id):
			shape("the identifier is none of HIBCC", "send the labeler, the product and the unit of measure: 6 to 23 letters and digits")
		case form != "" && strings.HasPrefix(form, "+") && !strings.HasPrefix(form[1:], id):
			shape("the identifier is not the one of the human-readable form", "send what follows the +")
		}
	}
}

// humanReadable checks the human-readable form.
func (w *walker) humanReadable(agency, k int, form string) {
	at := int(w.nodes[k].start)
	shape := func(message, fix string) {
		if w.finds(ruleUDI) {
			w.finding(ruleUDI, fhir.CodeValue, "carrierHRF", at, message, fix)
		}
	}
	check := func(message string) {
		if w.finds(ruleUDICheck) {
			w.finding(ruleUDICheck, fhir.CodeValue, "carrierHRF", at, message, "compare it with the label")
		}
	}
	switch agency {
	case gs1:
		if !strings.HasPrefix(form, "(01)") || len(form) < 18 || !allDigits(form[4:18]) || len(form) > 18 && form[18] != '(' {
			shape("the human-readable form is none of GS1", "begin with (01) and 14 digits")
			return
		}
		if mod10(form[4:17]) != form[17] {
			check("the check digit of the GTIN is wrong")
		}
		for _, part := range strings.Split(form[18:], "(") {
			ai, value, _ := strings.Cut(part, ")")
			if (ai == "11" || ai == "17") && !isDate(value) {
				shape("the date after ("+ai+") is none", "send it as YYMMDD")
			}
		}
	case hibcc:
		switch {
		case len(form) < 8 || form[0] != '+' || !hibcText(form[1:]):
			shape("the human-readable form is none of HIBCC", "send it from the + to the check character, in capital letters")
		case mod43(form[:len(form)-1]) != form[len(form)-1]:
			check("the check character of the human-readable form is wrong")
		}
	case iccbba:
		if form[0] != '=' && form[0] != '&' {
			shape("the human-readable form is none of ICCBBA", "send it from its first data identifier on, as in =/A9999…")
		}
	}
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// mod10 is the check digit of a GS1 key: from the right, every other digit counts three times.
// https://www.gs1.org/services/how-calculate-check-digit-manually
func mod10(digits string) byte {
	sum, weight := 0, 3
	for i := len(digits) - 1; i >= 0; i-- {
		sum += int(digits[i]-'0') * weight
		weight = 4 - weight
	}
	return byte('0' + (10-sum%10)%10)
}

// hibcAlphabet are the characters of HIBC, by their values in the check character.
const hibcAlphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-. $/+%"

func hibcText(s string) bool {
	for i := range len(s) {
		if strings.IndexByte(hibcAlphabet, s[i]) < 0 {
			return false
		}
	}
	return true
}

// mod43 is the check character of HIBC: the sum of the values of all characters, modulo 43.
// ANSI/HIBC 2.6, appendix B
func mod43(s string) byte {
	sum := 0
	for i := range len(s) {
		sum += strings.IndexByte(hibcAlphabet, s[i])
	}
	return hibcAlphabet[sum%43]
}

// isDate reports whether six digits are the year, month and day of GS1, whose day may be 00.
func isDate(s string) bool {
	s = strings.TrimSpace(s)
	if len(s) != 6 || !allDigits(s) {
		return false
	}
	year, month, day := int(s[0]-'0')*10+int(s[1]-'0'), int(s[2]-'0')*10+int(s[3]-'0'), int(s[4]-'0')*10+int(s[5]-'0')
	return month >= 1 && month <= 12 && day <= daysIn(2000+year, month)
}
