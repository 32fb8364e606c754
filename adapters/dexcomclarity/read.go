package dexcomclarity

import (
	"strconv"
	"strings"
	"time"

	"github.com/kiln-health/kiln/adapters/format/delimited"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
)

// entry is a line that tells a reading. Value is a FHIR decimal or, with an edge, "".
type entry struct {
	line        int
	kind        kind
	wall        time.Time
	value       string
	edge        byte // '<' below, '>' above what the sensor measures
	rate        string
	source      string // display device, as written
	transmitter string
	counter     int64
	counted     bool // counter is there

	at  when.Instant
	err error
}

// read looks at one line. What tells a reading becomes an entry, all else a skip.
func (x *export) read(row delimited.Row) {
	t := x.table
	event := t.cell(row.Cells, cEvent)
	e := entry{line: row.Line, kind: x.kindOf(event), source: t.cell(row.Cells, cSource), transmitter: t.cell(row.Cells, cTransmitter)}
	if row.Last {
		x.Warn(fhir.CodeStructure, "line "+strconv.Itoa(row.Line), "compare the end of the file with the export; if it was cut off, export again", "the last line has no line end: the file may have been cut off")
	}
	switch e.kind {
	case egv, calibration, carbs:
	case person:
		x.name(plain(event), t.cell(row.Cells, cPatientInfo))
		x.skip(row.Line, fhir.Information, fhir.CodeInformational, "", "a line about the person is no reading and is not used")
		return
	case patientIdentifier:
		id := t.cell(row.Cells, cPatientInfo)
		x.name("patient identifier", id)
		if id != "" {
			x.id = id
		}
		x.skip(row.Line, fhir.Information, fhir.CodeInformational, "", "the line with the patient's identifier is no reading")
		return
	case deviceInfo:
		if app := t.cell(row.Cells, cDeviceInfo); app != "" && e.source != "" {
			x.apps[fold(e.source)] = app
		}
		x.skip(row.Line, fhir.Information, fhir.CodeInformational, "", "a line about a device is no reading")
		return
	case alert:
		x.skip(row.Line, fhir.Information, fhir.CodeInformational, "", "an alert setting is no reading")
		return
	case exercise, health, note:
		x.skip(row.Line, fhir.Information, fhir.CodeNotSupported, "", "entries on exercise and health and notes are not mapped")
		return
	case insulin:
		x.skip(row.Line, fhir.Warning, fhir.CodeNotSupported, "", "an insulin dose is no Observation, and MedicationAdministration is not produced")
		return
	default:
		if !t.filled(row.Cells) {
			x.skip(row.Line, fhir.Information, fhir.CodeInformational, "", "the line is empty")
			return
		}
		x.skip(row.Line, fhir.SevError, fhir.CodeNotSupported, "report the event type and the language of the account to the project", "the event type is not known")
		return
	}
	if !x.fill(&e, row) {
		return
	}
	if row.Last && x.cut(&e) {
		x.skip(row.Line, fhir.SevError, fhir.CodeStructure, "export again", "the last line is cut off within the transmitter id")
		return
	}
	x.entries = append(x.entries, e)
}

// fill reads time, counter and values of e. Without success the line is skipped.
func (x *export) fill(e *entry, row delimited.Row) bool {
	t := x.table
	cell := func(c column) string { return t.cell(row.Cells, c) }
	wrong := func(fix, format string, args ...any) bool {
		x.skip(row.Line, fhir.SevError, fhir.CodeValue, fix, format, args...)
		return false
	}
	var ok bool
	if e.wall, e.at, ok = readTime(cell(cTime)); !ok {
		return wrong("export again without changing the table", "the time is not written YYYY-MM-DDThh:mm:ss")
	}
	if text := cell(cCounter); text != "" {
		// Tables that went through statistics software have 11101.0 for 11101.
		text = strings.TrimSuffix(text, ".0")
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 {
			return wrong("export again without changing the table", "the transmitter time is no whole number")
		}
		e.counter, e.counted = n, true
	}
	if e.kind == carbs {
		if e.value, ok = delimited.Number(cell(cCarbs)); !ok || negative(e.value) {
			return wrong("correct the line, then replay the payload", "the line has no amount of carbohydrates")
		}
		return true
	}
	text := cell(cGlucose)
	if e.edge = edges[plain(text)]; e.edge != 0 {
		if e.kind == calibration {
			return wrong("correct the line, then replay the payload", "the range of the blood glucose meter is not known, so that a value beyond it cannot be told")
		}
	} else if e.value, ok = delimited.Number(text); !ok {
		return wrong("correct the line, then replay the payload", "the glucose value is no number and no word for low or high that is known")
	} else if !credible(e.value, e.kind, t.glucose) {
		return wrong("check the unit in the header of the glucose column", "the glucose value cannot be one in %s: the unit or the value is wrong", t.glucose)
	}
	if text := cell(cRate); text != "" && e.kind == egv {
		if e.rate, ok = delimited.Number(text); !ok {
			x.Warn(fhir.CodeValue, "line "+strconv.Itoa(row.Line), "", "the rate of change is no number; the reading was mapped without it")
		}
	}
	return true
}

// negative reports whether a number of delimited.Number is below zero.
func negative(number string) bool { return strings.HasPrefix(number, "-") }

// credible reports whether the value can be a concentration of glucose in the unit. Sensors
// report from 40 to 400 mg/dL, 2.2 to 22.2 mmol/L, and say Low and High beyond; the two
// ranges do not meet, so that no reading passes in the wrong unit. Meters go further.
func credible(value string, k kind, unit string) bool {
	whole, _, _ := strings.Cut(value, ".")
	n, err := strconv.Atoi(whole)
	if err != nil || negative(value) {
		return false
	}
	switch {
	case k == calibration && unit == "mg/dL":
		return 20 <= n && n <= 600
	case k == calibration:
		return 1 <= n && n <= 33
	case unit == "mg/dL":
		return 39 <= n && n <= 401
	default:
		return 2 <= n && n <= 22
	}
}

// readTime reads YYYY-MM-DDThh:mm:ss with a T or a blank; the hour may have one digit.
// Any other order could be read in several ways. Clarity writes no offset; somebody who
// mends an export may write one behind the time, which is then the instant.
func readTime(s string) (wall time.Time, at when.Instant, ok bool) {
	offset := ""
	if n := strings.LastIndexAny(s, "Z+-"); n > len("2006-01-02") {
		s, offset = s[:n], s[n:]
	}
	if len(s) == len("2006-01-02T3:04:05") {
		s = s[:11] + "0" + s[11:]
	}
	if len(s) != len("2006-01-02T15:04:05") || s[10] != 'T' && s[10] != ' ' {
		return wall, at, false
	}
	wall, err := time.Parse("2006-01-02T15:04:05", s[:10]+"T"+s[11:])
	if err != nil || offset == "" {
		return wall, at, err == nil
	}
	zone := time.UTC
	if offset != "Z" {
		if len(offset) != len("+01:00") {
			return wall, at, false
		}
		if zone, err = when.ParseZone(offset); err != nil {
			return wall, at, false
		}
	}
	y, mo, d := wall.Date()
	h, mi, sec := wall.Clock()
	return wall, when.Instant{Time: time.Date(y, mo, d, h, mi, sec, 0, zone), Precision: fhir.Second, How: when.ExplicitOffset}, true
}

// cut reports whether e, on a last line without line end, has lost characters: its
// transmitter is the beginning of another one of the export.
func (x *export) cut(e *entry) bool {
	if x.table.at[cTransmitter] != x.table.width-1 || !e.counted {
		return false
	}
	for n := range x.entries {
		if t := x.entries[n].transmitter; len(t) > len(e.transmitter) && strings.HasPrefix(t, e.transmitter) {
			return true
		}
	}
	return false
}

// name notes what the payload calls the person, to see that it is one person only.
func (x *export) name(event, text string) {
	if have, ok := x.person[event]; ok && text != "" && have != text {
		x.several = true
	} else if text != "" {
		x.person[event] = text
	}
}

// kindOf is the kind of an event type. The words are few, the lines many.
func (x *export) kindOf(event string) kind {
	k, ok := x.kinds[event]
	if !ok {
		k = kinds[plain(event)]
		if len(x.kinds) < 100 {
			x.kinds[event] = k
		}
	}
	return k
}

// fold makes spellings of a display device equal: "Android G6" is "android G6".
func fold(source string) string { return plain(source) }
