package gatt

import (
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func bytesOf(t testing.TB, text string) []byte {
	t.Helper()
	b, err := ParseHex(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ptr[T any](v T) *T { return &v }

func num(mantissa int64, exponent int) Number { return Number{Mantissa: mantissa, Exponent: exponent} }

func TestEachFieldIsReadFromItsPlace(t *testing.T) {
	noon := &DateTime{2026, 5, 14, 12, 3, 59}
	for _, c := range []struct {
		name string
		hex  string
		read func([]byte) (any, error)
		want any
	}{
		{"a blood pressure with all fields", "1F 7F F0 50 F0 60 F0  EA07 05 0E 0C 03 3B  48 00  02  2500",
			func(b []byte) (any, error) { return DecodeBloodPressure(BloodPressureMeasurement, b) },
			BloodPressure{Unit: "kPa", Systolic: num(127, -1), Diastolic: num(80, -1), Mean: num(96, -1),
				Time: noon, Pulse: ptr(num(72, 0)), User: ptr(uint8(2)), Status: ptr(uint16(0x25))}},
		{"a cuff pressure that has no diastolic and no mean", "00 5A00 FF07 FF07",
			func(b []byte) (any, error) { return DecodeBloodPressure(IntermediateCuffPressure, b) },
			BloodPressure{Unit: "mm[Hg]", Systolic: num(90, 0), Diastolic: Number{Special: NaN}, Mean: Number{Special: NaN}}},
		{"an 8-bit heart rate without contact", "04 3C",
			func(b []byte) (any, error) { return DecodeHeartRate(b) },
			HeartRate{Rate: 60, Contact: ContactLost}},
		{"a 16-bit heart rate with energy and intervals", "1F 2C01 E803 0004 FF03",
			func(b []byte) (any, error) { return DecodeHeartRate(b) },
			HeartRate{Rate: 300, Contact: ContactDetected, Energy: ptr(uint16(1000)), RR: []uint16{1024, 1023}}},
		{"a heart rate whose sensor cannot tell the contact", "02 3C",
			func(b []byte) (any, error) { return DecodeHeartRate(b) },
			HeartRate{Rate: 60}},
		{"a glucose in mol/L with a negative offset", "1F 0A00 EA07 05 0E 0C 03 3B C4FF 37C0 11 2000",
			func(b []byte) (any, error) { return DecodeGlucose(b) },
			Glucose{Sequence: 10, Base: *noon, Offset: ptr(int16(-60)), Unit: "mol/L", Concentration: ptr(num(55, -4)),
				Type: 1, Location: 1, Status: ptr(uint16(0x20)), ContextFollows: true}},
		{"a glucose without concentration", "00 0A00 EA07 05 0E 0C 03 3B",
			func(b []byte) (any, error) { return DecodeGlucose(b) },
			Glucose{Sequence: 10, Base: *noon, Unit: "kg/L"}},
		{"a glucose context with all fields", "FF 0A00 00 01 32D0 02 51 0807 4B 04 0AD0 3FF0",
			func(b []byte) (any, error) { return DecodeGlucoseContext(b) },
			GlucoseContextValue{Sequence: 10, CarbohydrateID: 1, Carbohydrate: ptr(num(50, -3)), Meal: ptr(uint8(2)),
				Tester: ptr(uint8(1)), Health: ptr(uint8(5)), ExerciseDuration: ptr(uint16(1800)), Intensity: 75,
				MedicationID: 4, Medication: ptr(num(10, -3)), MedicationUnit: "L", HbA1c: ptr(num(63, -1))}},
		{"a temperature in Fahrenheit in the mouth", "07 DB0300FF EA07 05 0E 0C 03 3B 06",
			func(b []byte) (any, error) { return DecodeTemperature(TemperatureMeasurement, b) },
			Temperature{Unit: "[degF]", Value: num(987, -1), Time: noon, Type: ptr(uint8(6))}},
		{"a spot-check with all fields", "1F 6100 4800 EA07 05 0E 0C 03 3B 8001 200000 22F0",
			func(b []byte) (any, error) { return DecodeSpotCheck(b) },
			Oximetry{Oxygen: Oxygen{num(97, 0), num(72, 0)}, Time: noon, ClockNotSet: true, Status: ptr(uint16(0x180)),
				SensorStatus: ptr(uint32(0x20)), PulseAmplitude: ptr(num(34, -1))}},
		{"a continuous oximetry with fast and slow pairs", "1F 6100 4800 6200 4900 6000 4700 2000 000080 0100",
			func(b []byte) (any, error) { return DecodeContinuous(b) },
			Oximetry{Oxygen: Oxygen{num(97, 0), num(72, 0)}, Fast: &Oxygen{num(98, 0), num(73, 0)}, Slow: &Oxygen{num(96, 0), num(71, 0)},
				Status: ptr(uint16(0x20)), SensorStatus: ptr(uint32(0x800000)), PulseAmplitude: ptr(num(1, 0))}},
		{"a weight in kilograms with all fields", "0E 1C39 EA07 05 0E 0C 03 3B 01 F200 F506",
			func(b []byte) (any, error) { return DecodeWeight(b) },
			Weight{MassUnit: "kg", LengthUnit: "m", Weight: num(73100, -3), Time: noon, User: ptr(uint8(1)),
				BMI: ptr(num(242, -1)), Height: ptr(num(1781, -3))}},
		{"a weight in pounds", "01 F23E",
			func(b []byte) (any, error) { return DecodeWeight(b) },
			Weight{MassUnit: "[lb_av]", LengthUnit: "[in_i]", Weight: num(16114, -2)}},
		{"a weight that could not be taken", "00 FFFF",
			func(b []byte) (any, error) { return DecodeWeight(b) },
			Weight{MassUnit: "kg", LengthUnit: "m", Weight: Number{Special: Unsuccessful}}},
		{"a body composition with all fields", "FE0F D700 EA07 05 0E 0C 03 3B 01 581B 9001 401F E02E A02D 6022 8813 1C39 F506",
			func(b []byte) (any, error) { return DecodeBodyComposition(b) },
			BodyComposition{MassUnit: "kg", LengthUnit: "m", BodyFat: num(215, -1), Time: noon, User: ptr(uint8(1)),
				BasalMetabolism: ptr(num(7000, 0)), MusclePercentage: ptr(num(400, -1)), MuscleMass: ptr(num(40000, -3)),
				FatFreeMass: ptr(num(60000, -3)), SoftLeanMass: ptr(num(58400, -3)), BodyWaterMass: ptr(num(44000, -3)),
				Impedance: ptr(num(5000, -1)), Weight: ptr(num(73100, -3)), Height: ptr(num(1781, -3))}},
		{"a CGM feature without checksum", "000080 59 FFFF",
			func(b []byte) (any, error) { return DecodeCGMFeature(b) },
			CGMFeatures{Features: 0x800000, Type: 9, Location: 5}},
		{"a session start without checksum", "EA07 05 0E 0C 03 3B F6 04",
			func(b []byte) (any, error) { return DecodeSessionStart(b) },
			SessionStart{Time: *noon, Zone: -10, DST: 4}},
		{"a system ID, last byte first", "563412 FEFF 1C6000",
			func(b []byte) (any, error) { return DecodeSystemID(b) },
			[8]byte{0x00, 0x60, 0x1C, 0xFF, 0xFE, 0x12, 0x34, 0x56}},
		{"a text with zeros at its end", "42502D37 0000",
			func(b []byte) (any, error) { return DecodeText(ModelNumber, b) }, "BP-7"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.read(bytesOf(t, c.hex))
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(c.want, got); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
		})
	}
}

// decodeAny reads any characteristic that the package knows, as %+v for comparison.
func decodeAny(of Characteristic, value []byte) (any, error) {
	switch of {
	case GlucoseMeasurement:
		return DecodeGlucose(value)
	case GlucoseContext:
		return DecodeGlucoseContext(value)
	case TemperatureMeasurement, IntermediateTemperature:
		return DecodeTemperature(of, value)
	case BloodPressureMeasurement, IntermediateCuffPressure:
		return DecodeBloodPressure(of, value)
	case HeartRateMeasurement:
		return DecodeHeartRate(value)
	case OximeterSpotCheck:
		return DecodeSpotCheck(value)
	case OximeterContinuous:
		return DecodeContinuous(value)
	case WeightMeasurement:
		return DecodeWeight(value)
	case BodyCompositionMeasurement:
		return DecodeBodyComposition(value)
	case CGMFeature:
		return DecodeCGMFeature(value)
	case CGMSessionStart:
		return DecodeSessionStart(value)
	case SystemID:
		return DecodeSystemID(value)
	case CGMMeasurement:
		results := DecodeCGM(value)
		for _, r := range results {
			if r.Err != nil {
				return results, r.Err
			}
		}
		return results, nil
	}
	return DecodeText(of, value)
}

func TestValuesCutShortOrTooLongAreRefusedWithTheirPlace(t *testing.T) {
	for _, c := range []struct {
		of   Characteristic
		hex  string
		want string
	}{
		{BloodPressureMeasurement, "00 7800 5000", "2A35 byte 5 (mean arterial pressure): the value ends here, 2 of 2 bytes are missing"},
		{BloodPressureMeasurement, "00 7800 5000 5D00 01", "2A35 byte 7 (end): 1 bytes more than the flags announce"},
		{BloodPressureMeasurement, "02 7800 5000 5D00 EA07 0D 01 000000", "2A35 byte 9 (time stamp): the month is not 0 to 12"},
		{BloodPressureMeasurement, "02 7800 5000 5D00 EA07 02 1E 000000", "2A35 byte 10 (time stamp): there is no such day in the month"},
		{BloodPressureMeasurement, "02 7800 5000 5D00 EA07 02 01 180000", "2A35 byte 11 (time stamp): the hour is not 0 to 23"},
		{BloodPressureMeasurement, "02 7800 5000 5D00 EA07 02 01 003C00", "2A35 byte 12 (time stamp): the minute is not 0 to 59"},
		{BloodPressureMeasurement, "02 7800 5000 5D00 EA07 02 01 00003C", "2A35 byte 13 (time stamp): the second is not 0 to 59"},
		{BloodPressureMeasurement, "02 7800 5000 5D00 0100 02 01 000000", "2A35 byte 7 (time stamp): the year is neither 0 nor 1582 to 9999"},
		{HeartRateMeasurement, "01 3C", "2A37 byte 1 (heart rate): the value ends here, 1 of 2 bytes are missing"},
		{HeartRateMeasurement, "10 3C", "2A37 byte 2 (RR-interval): the value ends here, 2 of 2 bytes are missing"},
		{HeartRateMeasurement, "10 3C 0004 01", "2A37 byte 4 (RR-interval): the value ends here, 1 of 2 bytes are missing"},
		{CGMMeasurement, "06 00 6400 0500 07 00 6500", "2AA7 byte 6 (size): the size of the record does not fit the value"},
		{CGMMeasurement, "05 00 6400 05", "2AA7 byte 0 (size): the size of the record does not fit the value"},
		{CGMMeasurement, "07 00 6400 0500 00", "2AA7 byte 6 (end): 1 bytes more than the flags announce"},
		{CGMMeasurement, "06 00 6400 0500 08 00 6500 0600 FFFF", "2AA7 byte 12 (E2E-CRC): the checksum does not fit the bytes"},
		{CGMFeature, "001000 59 FFFF", "2AA8 byte 4 (E2E-CRC): the checksum does not fit the bytes"},
		{SystemID, "0011", "2A23 byte 0 (system ID): the value ends here, 6 of 8 bytes are missing"},
		{ModelNumber, "42 50 0A 37", "2A24 byte 2 (text): a control character"},
		{ModelNumber, "FF", "2A24 byte 0 (text): not UTF-8"},
	} {
		t.Run(c.want, func(t *testing.T) {
			_, err := decodeAny(c.of, bytesOf(t, c.hex))
			if err == nil || err.Error() != c.want {
				t.Errorf("got %v, want %s", err, c.want)
			}
			if e, ok := errors.AsType[*Error](err); !ok || e.Characteristic != c.of {
				t.Errorf("%v is no *Error of %v", err, c.of)
			}
		})
	}
}

func TestARecordThatCannotBeReadDoesNotSpoilTheOthers(t *testing.T) {
	got := DecodeCGM(bytesOf(t, "08 00 6400 0500 0000 06 00 6500 0600"))
	if len(got) != 2 || got[0].Err == nil || got[1].Err != nil || got[1].Offset != 8 || got[1].Glucose.Text() != "101" {
		t.Errorf("got %+v", got)
	}
}

func TestCGMStatusOctetsStandInTheOrderOfTheirBits(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want uint32
	}{
		{"09 E0 6400 0500 02 14 C0", 0xC01402},
		{"07 80 6400 0500 02", 0x000002},
		{"07 40 6400 0500 14", 0x001400},
		{"07 20 6400 0500 C0", 0xC00000},
	} {
		got := DecodeCGM(bytesOf(t, c.hex))
		if len(got) != 1 || got[0].Err != nil || got[0].Status != c.want {
			t.Errorf("%s: got %+v, want status %06X", c.hex, got, c.want)
		}
	}
}

func TestDecimalsKeepTheirPrecision(t *testing.T) {
	for _, c := range []struct {
		hex  string
		want string
	}{
		{"7800", "120"}, {"0C10", "120"}, {"78F0", "12.0"}, {"01D0", "0.001"}, {"00F0", "0.0"}, {"0010", "0"},
		{"FBFF", "-0.5"}, {"FD07", "2045"}, {"0308", "-2045"}, {"0C80", "0.00000012"}, {"0170", "10000000"},
		{"FF07", "NaN"}, {"0008", "NRes"}, {"FE07", "+INFINITY"}, {"0208", "-INFINITY"}, {"0108", "reserved"},
		{"FFF7", "204.7"}, // a special mantissa with an exponent is none of the special words
	} {
		r := &reader{b: bytesOf(t, c.hex)}
		n := r.sfloat("")
		if got := n.Text() + string(n.Special); got != c.want {
			t.Errorf("SFLOAT %s is %q, want %q", c.hex, got, c.want)
		}
	}
	for _, c := range []struct{ hex, want string }{
		{"B00E00FE", "37.60"}, {"780100FF", "37.6"}, {"260000 00", "38"}, {"DAFFFFFF", "-3.8"},
		{"FFFF7F00", "NaN"}, {"00008000", "NRes"}, {"FEFF7F00", "+INFINITY"}, {"02008000", "-INFINITY"}, {"01008000", "reserved"},
		{"01000013", "1e19"}, {"FF FF FF 80", "-1e-128"}, {"01000012", "1000000000000000000"},
	} {
		r := &reader{b: bytesOf(t, c.hex)}
		n := r.float("")
		if got := n.Text() + string(n.Special); got != c.want {
			t.Errorf("FLOAT %s is %q, want %q", c.hex, got, c.want)
		}
	}
	if got := num(258, -5).Shift(5).Text(); got != "258" {
		t.Errorf("258e-5 kg/L shifted by 5 is %s", got)
	}
	if got := num(30, 0).Shift(5).Text(); got != "3000000" {
		t.Errorf("30 kg/L shifted by 5 is %s", got)
	}
}

func TestBetweenComparesExactly(t *testing.T) {
	for _, c := range []struct {
		n         Number
		low, high int64
		want      bool
	}{
		{num(100, 0), 0, 100, true}, {num(1001, -1), 0, 100, false}, {num(1, 2), 0, 100, true}, {num(11, 1), 0, 100, false},
		{num(0, 127), 0, 100, true}, {num(1, 127), 0, 100, false}, {num(-1, 127), -5, 100, false}, {num(5, -128), 0, 1, true},
		{num(5, -128), 1, 2, false}, {num(-5, -128), 0, 1, false}, {num(-5, -128), -1, 1, true}, {Number{Special: NaN}, 0, 100, false},
	} {
		if got := c.n.Between(c.low, c.high); got != c.want {
			t.Errorf("%+v between %d and %d: %v", c.n, c.low, c.high, got)
		}
	}
}

func TestEveryTextIsAFHIRDecimal(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := Number{
			Mantissa: rapid.Int64Range(-1<<23, 1<<23).Draw(t, "mantissa"),
			Exponent: rapid.IntRange(-140, 140).Draw(t, "exponent"),
		}
		if text := n.Text(); !fhir.IsDecimal(text) {
			t.Fatalf("%+v is %q", n, text)
		}
	})
}

func TestUUIDs(t *testing.T) {
	for _, c := range []struct {
		text string
		want string
	}{
		{"2A35", "2A35"}, {"2a35", "2A35"}, {"0x2a35", "2A35"}, {"0X2A35", "2A35"},
		{"00002a35-0000-1000-8000-00805f9b34fb", "2A35"}, {"00002A35-0000-1000-8000-00805F9B34FB", "2A35"},
		{"6e400003-b5a3-f393-e0a9-e50e24dcca9e", "vendor"}, {"00012A35-0000-1000-8000-00805F9B34FB", "vendor"},
		{"", "bad"}, {"2A3", "bad"}, {"2A3G", "bad"}, {"00002a35:0000:1000:8000:00805f9b34fb", "bad"}, {"0x2a35-0000-1000-8000-00805f9b34fbzz", "bad"},
	} {
		id, err := ParseUUID(c.text)
		got := id.String()
		if errors.Is(err, ErrVendor) {
			got = "vendor"
		} else if err != nil {
			got = "bad"
		}
		if got != c.want {
			t.Errorf("%q: got %s (%v), want %s", c.text, got, err, c.want)
		}
	}
}

func TestHexadecimalMayBeGrouped(t *testing.T) {
	for _, text := range []string{"0055", "00 55", "00:55", "00-55", "0x0055", "0x00 0x55", "0X00-0X55", " 00\t55 "} {
		if b, err := ParseHex(text); err != nil || hex.EncodeToString(b) != "0055" {
			t.Errorf("%q: %x, %v", text, b, err)
		}
	}
	for text, want := range map[string]string{
		"": "the value is empty", " 0x ": "the value is empty",
		"005":                             "column 3 of the hexadecimal text: half a byte at the end",
		"0 05":                            "column 1 of the hexadecimal text: not two hexadecimal digits",
		"00zz":                            "column 3 of the hexadecimal text: not two hexadecimal digits",
		"000x55":                          "column 3 of the hexadecimal text: not two hexadecimal digits",
		strings.Repeat("00", MaxValue+1):  "the value is longer than 512 bytes",
		strings.Repeat(" ", 5*MaxValue+1): "the value is longer than 512 bytes",
	} {
		if _, err := ParseHex(text); err == nil || err.Error() != want {
			t.Errorf("%.20q: got %v, want %s", text, err, want)
		}
	}
}

func TestSessionOffsets(t *testing.T) {
	for _, c := range []struct {
		s    SessionStart
		want string
	}{
		{SessionStart{Zone: 8, DST: 4}, "10800 true"}, {SessionStart{Zone: -20, DST: 0}, "-18000 true"},
		{SessionStart{Zone: 42, DST: 2}, "39600 true"}, {SessionStart{Zone: -128, DST: 0}, "0 false"},
		{SessionStart{Zone: 57, DST: 0}, "0 false"}, {SessionStart{Zone: 4, DST: 255}, "3600 false"}, {SessionStart{Zone: 4, DST: 1}, "3600 false"},
	} {
		seconds, ok := c.s.OffsetSeconds()
		if got := fmt.Sprint(seconds, ok); got != c.want {
			t.Errorf("%+v: got %s, want %s", c.s, got, c.want)
		}
	}
}

// TestTheVectorsOfTheReferenceMaterialDecodeAsTheySay reads vectors that others publish.
// What each must give is written here, so that a vector that is added fails until
// somebody has looked at it.
func TestTheVectorsOfTheReferenceMaterialDecodeAsTheySay(t *testing.T) {
	file, err := os.Open(filepath.Join(fhirtest.Shared(t), "tables", "gatt_vectors.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	in := csv.NewReader(file)
	in.Comma, in.LazyQuotes = '\t', true
	rows, err := in.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, row := range rows[1:] {
		if row[0] == "2B8B" { // Generic Health Sensor: not read by this package
			continue
		}
		seen++
		t.Run(row[0]+" "+row[1], func(t *testing.T) {
			of, err := ParseUUID(row[0])
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodeAny(of, bytesOf(t, row[1]))
			text := summary(got)
			if err != nil {
				text = err.Error()
				if !strings.Contains(row[4], "negative") {
					t.Errorf("refused, but the table says %s: %v", row[4], err)
				}
			}
			want, ok := vectors[row[0]+" "+row[1]]
			if !ok || text != want {
				t.Errorf("the table says %s\n got %s\nwant %s", row[2], text, want)
			}
		})
	}
	if seen != len(vectors) {
		t.Errorf("%d vectors, want %d", seen, len(vectors))
	}
}

// summary writes out what is behind pointers.
func summary(v any) string {
	show := func(n *Number) string {
		if n == nil {
			return "-"
		}
		return n.Text() + string(n.Special)
	}
	clock := func(d *DateTime) string {
		if d == nil {
			return "-"
		}
		return fmt.Sprintf("%04d-%02d-%02dT%02d:%02d:%02d", d.Year, d.Month, d.Day, d.Hour, d.Minute, d.Second)
	}
	status := func(s *uint16) string {
		if s == nil {
			return "-"
		}
		return fmt.Sprintf("%04x", *s)
	}
	switch m := v.(type) {
	case BloodPressure:
		user := "-"
		if m.User != nil {
			user = fmt.Sprint(*m.User)
		}
		return fmt.Sprintf("%s/%s/%s %s at %s pulse %s user %s status %s", show(&m.Systolic), show(&m.Diastolic), show(&m.Mean), m.Unit, clock(m.Time), show(m.Pulse), user, status(m.Status))
	case HeartRate:
		energy := "-"
		if m.Energy != nil {
			energy = fmt.Sprint(*m.Energy)
		}
		return fmt.Sprintf("%d contact %d energy %s rr %v", m.Rate, m.Contact, energy, m.RR)
	case Temperature:
		return fmt.Sprintf("%s %s at %s type %d", show(&m.Value), m.Unit, clock(m.Time), *m.Type)
	case Glucose:
		return fmt.Sprintf("seq %d base %s offset %d conc %s %s type %d location %d status %s context %v", m.Sequence, clock(&m.Base), *m.Offset, show(m.Concentration), m.Unit, m.Type, m.Location, status(m.Status), m.ContextFollows)
	case []CGMResult:
		var out []string
		for _, r := range m {
			out = append(out, fmt.Sprintf("%s +%d status %06x trend %s quality %s", show(&r.Glucose), r.Minutes, r.Status, show(r.Trend), show(r.Quality)))
		}
		return strings.Join(out, ", ")
	case SessionStart:
		return fmt.Sprintf("%s zone %d dst %d", clock(&m.Time), m.Zone, m.DST)
	}
	return fmt.Sprintf("%+v", v)
}

var vectors = map[string]string{
	"2A35 1E8A00580078000000041114293B3C00012700": "138/88/120 mm[Hg] at 0000-04-17T20:41:59 pulse 60 user 1 status 0027",
	"2A35 15BDF00B009FF03C001200":                 "18.9/11/15.9 kPa at - pulse 60 user - status 0012",
	"2A35 00BDF00B009FF0":                         "18.9/11/15.9 mm[Hg] at - pulse - user - status -",
	"2A37 0055":                                   "85 contact 0 energy - rr []",
	"2A37 04FF":                                   "255 contact 1 energy - rr []",
	"2A37 1E5532002100":                           "85 contact 2 energy 50 rr [33]",
	"2A37 1F0101320101000201FFFF":                 "257 contact 2 energy 306 rr [1 258 65535]",
	"2A1C 06B00E00FEDC070C050B321B04":             "37.60 Cel at 2012-12-05T11:50:27 type 4",
	"2A1C 06B00E00FEDC070C050B321B":               "2A1C byte 12 (temperature type): the value ends here, 1 of 1 bytes are missing",
	"2A18 1B0100E307021B0B0A1EFBFF1E00120501":     "seq 1 base 2019-02-27T11:10:30 offset -5 conc 30 kg/L type 2 location 1 status 0105 context true",
	"2A18 1B0000E207041A0B091E1E00120501":         "2A18 byte 15 (sensor status annunciation): the value ends here, 2 of 2 bytes are missing",
	"2AA7 0FE3D2E405000214FF02F0E5F38E3F":         "12.34 +5 status ff1402 trend 0.2 quality 99.7",
	"2AA7 06000C100600":                           "120 +6 status 000000 trend - quality -",
	"2AA7 06000C10050006000C100600":               "120 +5 status 000000 trend - quality -, 120 +6 status 000000 trend - quality -",
	"2AA7 08000C100600586F":                       "2AA7 byte 6 (E2E-CRC): the checksum does not fit the bytes",
	"2AAA E20704180D08180804E0C2":                 "2018-04-24T13:08:24 zone 8 dst 4",
	"2AAA 000004180D08180802":                     "0000-04-24T13:08:24 zone 8 dst 2",
	"2AAA E20704180D08180804E0C3":                 "2AAA byte 9 (E2E-CRC): the checksum does not fit the bytes",
}

func FuzzDecode(f *testing.F) {
	all := []Characteristic{GlucoseMeasurement, TemperatureMeasurement, IntermediateTemperature, SystemID, ModelNumber, GlucoseContext,
		BloodPressureMeasurement, IntermediateCuffPressure, HeartRateMeasurement, OximeterSpotCheck, OximeterContinuous,
		BodyCompositionMeasurement, WeightMeasurement, CGMMeasurement, CGMFeature, CGMSessionStart}
	for i, text := range []string{"1F0A00EA07050E0C033BC4FF37C0112000", "07DB0300FFEA07050E0C033B06", "FF0A00000132D002510807 4B040AD03FF0", "0FE3D2E405000214FF02F0E5F38E3F"} {
		f.Add(uint8(i), bytesOf(f, text))
	}
	f.Fuzz(func(t *testing.T, which uint8, value []byte) {
		of := all[int(which)%len(all)]
		_, err := decodeAny(of, value)
		if e, ok := errors.AsType[*Error](err); err != nil && (!ok || e.Offset < 0 || e.Offset > len(value)) {
			t.Errorf("%v: %v", of, err)
		}
		if of == CGMMeasurement && len(DecodeCGM(value)) == 0 {
			t.Error("no result at all")
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add("0x00 0x55")
	f.Add("00002A35-0000-1000-8000-00805F9B34FB")
	f.Fuzz(func(t *testing.T, s string) {
		if b, err := ParseHex(s); err == nil && (len(b) == 0 || len(b) > MaxValue) {
			t.Errorf("%d bytes", len(b))
		}
		if id, err := ParseUUID(s); err == nil && len(s) == 4 && !strings.EqualFold(id.String(), s) {
			t.Errorf("%q is %s", s, id)
		}
	})
}
