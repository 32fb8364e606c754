package ihepcd

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	codes "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/codes_go_proto"
	obpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/observation_go_proto"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/adaptertest"
	"github.com/kiln-health/kiln/adapters/when"
	"github.com/kiln-health/kiln/fhir"
	"github.com/kiln-health/kiln/fhir/fhirtest"
)

func TestAdapter(t *testing.T) { adaptertest.Run(t, New()) }

var received = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

const (
	msh = `MSH|^~\&|GW^02A0C9FFFE100001^EUI-64|WARD|||20260301120002+0100||ORU^R01^ORU_R01|1|P|2.6`
	pid = "\rPID|||4711^^^NORTH^MR"
	obr = "\rOBR|1|||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||20260301120000+0100"
	mon = "\rOBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||^^02A0C9FFFE2B3C4D^EUI-64"
	hr  = "\rOBX|2|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|80|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||R"
)

func payload(body string) adapters.Payload {
	return adapters.Payload{Body: []byte(body), Received: received}
}

// accept converts, checks that the conversion adds up and is valid, and returns it.
func accept(t *testing.T, p adapters.Payload) adapters.Conversion {
	t.Helper()
	c, err := adaptertest.Accept(t, New(), p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// only is the one Observation of a message with that row.
func only(t *testing.T, row string) *obpb.Observation {
	t.Helper()
	c := accept(t, payload(msh+pid+obr+mon+"\r"+row))
	if len(c.Observations) != 1 {
		t.Fatalf("%s: got %d observations, skipped %v", row, len(c.Observations), c.Skipped)
	}
	return c.Observations[0]
}

func TestDetect(t *testing.T) {
	lab := strings.ReplaceAll(msh+pid+obr, "69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC", "94500-6^X^LN") + "\rOBX|1|NM|94745-7^Ct value^LN||28.5|||||F"
	for _, c := range []struct {
		what, body string
		want       bool
	}{
		{"a monitor", msh + pid + obr + mon + hr, true},
		{"in an MLLP frame", "\x0b" + msh + pid + obr + mon + hr + "\r\x1c\r", true},
		{"in a batch", "BHS|^~\\&\r" + msh + pid + obr + mon + hr, true},
		{"a reference id without the system", msh + pid + obr + "\rOBX|1|NM|147842^MDC_ECG_HEART_RATE|1.1.1.1|80", true},
		{"a profile that stands in MSH-22", msh + "||||||||||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO" + pid, false},
		{"the profile in MSH-21", strings.Replace(msh, "2.6", "2.6|||||||||PCD_DEC_001^IHE PCD", 1) + pid, true},
		{"a long payload, of which the beginning tells", msh + pid + obr + mon + hr + strings.Repeat("\rNTE|1||"+strings.Repeat("x", 1000), 200), true},
		{"a laboratory report", lab, false},
		{"an alarm", strings.Replace(msh, "ORU^R01^ORU_R01", "ORU^R40^ORU_R40", 1) + pid + obr + mon, false},
		{"an implant", msh + pid + obr + "\rOBX|1|NM|721344^MDC_IDC_MSMT_BATTERY_VOLTAGE^MDC|1|2.9", false},
		{"an implant by its profile", strings.Replace(msh, "2.6", "2.6|||||||||IHE_PCD_ORU_R01^IHE PCD^1.3.6.1.4.1.19376.1.6.1.9.1^ISO", 1) + pid, false},
		{"JSON", `{"MSH":"MDC_"}`, false},
		{"nothing", "", false},
		{"one line without end", "MSH" + strings.Repeat("x", 100_000), false},
	} {
		if got := New().Detect(payload(c.body)); got != c.want {
			t.Errorf("%s: got %v", c.what, got)
		}
	}
}

func TestEquipmentIdentifiers(t *testing.T) {
	const ours = fhir.Namespace + "device-id/ihepcd/"
	for _, c := range []struct{ what, ei, system, value string }{
		{"an EUI-64 in EI-3", "^^02a0c9fffe2b3c4d^EUI-64", fhir.EUI64, "02A0C9FFFE2B3C4D"},
		{"an EUI-64 with dashes", "^^02-A0-C9-FF-FE-2B-3C-4D^EUI-64", fhir.EUI64, "02A0C9FFFE2B3C4D"},
		{"an EUI-64 with blanks around it", "^^ 02A0C9FFFE2B3C4D ^EUI-64", fhir.EUI64, "02A0C9FFFE2B3C4D"},
		{"the label without its dash", "^^02A0C9FFFE2B3C4D^EUI64", fhir.EUI64, "02A0C9FFFE2B3C4D"},
		{"an EUI-64 in EI-1 with its label in EI-2", "0123456789abcdef^EUI-64", fhir.EUI64, "0123456789ABCDEF"},
		{"serial and model before the EUI-64", "SN1^M2^02A0C9FFFE2B3C4D^EUI-64", fhir.EUI64, "02A0C9FFFE2B3C4D"},
		{"the same EUI-64 twice", "02A0C9FFFE2B3C4D^^02A0C9FFFE2B3C4D^EUI-64", fhir.EUI64, "02A0C9FFFE2B3C4D"},
		{"a name given by a maker", "P6013^^0012210000000000^EUI-64", ours + "0012210000000000", "P6013"},
		{"a name given by the sender", "BED7^^02A0C9FFFE100001^EUI-64", ours + "02A0C9FFFE100001", "BED7"},
		{"a number of 16 digits that is not labelled", "080019FFFE0B4020^B1X5_GE", ours + "B1X5_GE", "080019FFFE0B4020"},
		{"labelled EUI-64, and too short", "12345^EUI-64", ours + "sender/02A0C9FFFE100001/WARD", "12345"},
		{"labelled EUI-64 in EI-3, and too short", "X^^12345^EUI-64", ours + "sender/02A0C9FFFE100001/WARD/12345", "X"},
		{"labelled EUI-64, and nobody's", "^^0000000000000000^EUI-64", ours + "sender/02A0C9FFFE100001/WARD", "0000000000000000"},
		{"a GUID with a word behind it", "e86c094f-f751-4acf-92b2-38f11c1f6f57-Device", ours + "sender/02A0C9FFFE100001/WARD", "e86c094f-f751-4acf-92b2-38f11c1f6f57-Device"},
		{"a bare serial number", "0600dc750001", ours + "sender/02A0C9FFFE100001/WARD", "0600dc750001"},
		{"a bare UUID", "F9BD67BA-10F9-11EA-BAB1-0050B612AFEB", rfc3986, "urn:uuid:f9bd67ba-10f9-11ea-bab1-0050b612afeb"},
		{"a UUID as URN", "urn:uuid:f9bd67ba-10f9-11ea-bab1-0050b612afeb^^urn:uuid:f9bd67ba-10f9-11ea-bab1-0050b612afeb^URN", rfc3986, "urn:uuid:f9bd67ba-10f9-11ea-bab1-0050b612afeb"},
		{"a name under a UUID", "7^^f9bd67ba-10f9-11ea-bab1-0050b612afeb^UUID", "urn:uuid:f9bd67ba-10f9-11ea-bab1-0050b612afeb", "7"},
		{"a name under an OID", "7^X^1.2.276.0.76^ISO", "urn:oid:1.2.276.0.76", "7"},
		{"an OID alone", "^^1.2.276.0.76^ISO", rfc3986, "urn:oid:1.2.276.0.76"},
		{"an OID that is none", "7^X^1.2.x^ISO", ours + "1.2.x", "7"},
		{"a domain", "F1519^DEV^mindray.example^DNS", "urn:id:mindray.example", "F1519"},
		{"a namespace with blanks", "7^Ward A/B", ours + "Ward%20A%2FB", "7"},
	} {
		d := accept(t, payload(msh+pid+obr+strings.Replace(mon, "^^02A0C9FFFE2B3C4D^EUI-64", c.ei, 1)+hr)).Devices[0]
		if len(d.Identifier) == 0 {
			t.Errorf("%s: no identifier", c.what)
			continue
		}
		if system, value := d.Identifier[0].GetSystem().GetValue(), d.Identifier[0].GetValue().GetValue(); system != c.system || value != c.value {
			t.Errorf("%s: got %s|%s, want %s|%s", c.what, system, value, c.system, c.value)
		}
	}
}

// deviceID is the id of the Device of the first reading.
func deviceID(t *testing.T, p adapters.Payload) string {
	t.Helper()
	c := accept(t, p)
	if len(c.Observations) == 0 {
		t.Fatalf("no observation: %v", c.Skipped)
	}
	return c.Observations[0].GetDevice().GetDeviceId().GetValue()
}

func TestTwoBedsAreNeverOneDevice(t *testing.T) {
	anonymous := "\rOBX|1||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X"
	bed1, bed2 := "\rPV1||I|ICU^1^1", "\rPV1||I|ICU^1^2"
	other := "\rPID|||4712^^^NORTH^MR"
	maker := func(name string) string {
		return strings.Replace(mon, "^^02A0C9FFFE2B3C4D", name+"^^0012210000000000", 1)
	}
	named := func(name string) string { return strings.Replace(mon, "^^02A0C9FFFE", name+"^^02A0C9FFFE", 1) }
	for _, c := range []struct{ what, one, two string }{
		{"unknown devices of two patients", msh + pid + obr + anonymous + hr, msh + other + obr + anonymous + hr},
		{"unknown devices of one patient in two beds", msh + pid + bed1 + obr + anonymous + hr, msh + pid + bed2 + obr + anonymous + hr},
		{"unknown devices in two beds, no patient", msh + bed1 + obr + anonymous + hr, msh + bed2 + obr + anonymous + hr},
		{"beds of two gateways", msh + bed1 + obr + anonymous + hr, strings.Replace(msh, "FFFE100001", "FFFE100002", 1) + bed1 + obr + anonymous + hr},
		{"two names of one maker", msh + pid + obr + maker("P1") + hr, msh + pid + obr + maker("P2") + hr},
		{"two names under one EUI-64", msh + pid + obr + named("P1") + hr, msh + pid + obr + named("P2") + hr},
		{"bare numbers of two senders", msh + pid + obr + strings.Replace(mon, "^^02A0C9FFFE2B3C4D^EUI-64", "1", 1) + hr,
			strings.Replace(msh, "|WARD|", "|WEST|", 1) + pid + obr + strings.Replace(mon, "^^02A0C9FFFE2B3C4D^EUI-64", "1", 1) + hr},
	} {
		if deviceID(t, payload(c.one)) == deviceID(t, payload(c.two)) {
			t.Errorf("%s have the same Device", c.what)
		}
	}
}

func TestADeviceKeepsItsIdentity(t *testing.T) {
	want := deviceID(t, payload(msh+pid+obr+mon+hr))
	for _, c := range []struct{ what, body string }{
		{"for another patient", msh + "\rPID|||4712^^^NORTH^MR" + obr + mon + hr},
		{"in another message", strings.Replace(msh, "|1|P", "|2|P", 1) + pid + obr + mon + hr},
		{"as another MDS of the message", strings.NewReplacer("|1.0.0.0|", "|2.0.0.0|", "|1.1.1.1|", "|2.1.1.1|").Replace(msh + pid + obr + mon + hr)},
		{"in small letters", strings.Replace(msh+pid+obr+mon+hr, "02A0C9FFFE2B3C4D", "02a0c9fffe2b3c4d", 1)},
		{"through another gateway", strings.Replace(msh, "FFFE100001", "FFFE100002", 1) + pid + obr + mon + hr},
		{"told by the metric itself", msh + pid + obr + hr + "|||||||^^02A0C9FFFE2B3C4D^EUI-64"},
		{"without OBX-4, as the only device of the order", msh + pid + obr + mon + strings.Replace(hr, "|1.1.1.1|", "||", 1)},
		{"told in the order before", msh + pid + obr + mon + obr + hr},
	} {
		if got := deviceID(t, payload(c.body)); got != want {
			t.Errorf("%s the Device is another", c.what)
		}
	}
}

func TestASerialNumberIdentifiesWithItsMaker(t *testing.T) {
	device := "\rOBX|1||528391^MDC_DEV_SPEC_PROFILE_BP^MDC|1|||||||X\rOBX|2||70686^MDC_DEV_PRESS_BLD_NONINV_VMD^MDC|1.1.0.0|||||||X"
	maker := "\rOBX|3|ST|531970^MDC_ID_MODEL_MANUFACTURER^MDC|1.0.0.1|Cuffworks||||||R"
	serial := "\rOBX|4|ST|531972^MDC_ID_PROD_SPEC_SERIAL^MDC|1.0.0.2|0001||||||R"
	other := "\rPID|||4712^^^NORTH^MR"
	if deviceID(t, payload(msh+pid+obr+device+maker+serial+hr)) != deviceID(t, payload(msh+other+obr+device+maker+serial+hr)) {
		t.Error("maker and serial number are the same device with every patient")
	}
	if deviceID(t, payload(msh+pid+obr+device+serial+hr)) == deviceID(t, payload(msh+other+obr+device+serial+hr)) {
		t.Error("a serial number alone may be that of another maker")
	}
	c := accept(t, payload(msh+pid+obr+device+maker+serial+hr))
	if got := c.Observations[0].GetDevice().GetDeviceId().GetValue(); got != c.Devices[0].GetId().GetValue() || c.Devices[0].GetSerialNumber().GetValue() != "0001" {
		t.Error("the reading is that of the device with the serial number, not of a part of it")
	}
	inModule := accept(t, payload(msh+pid+obr+device+strings.NewReplacer("1.0.0.1", "1.1.0.1", "1.0.0.2", "1.1.0.2").Replace(maker+serial)+hr))
	if got := inModule.Observations[0].GetDevice().GetDeviceId().GetValue(); got != inModule.Devices[1].GetId().GetValue() {
		t.Error("the reading is that of the module with the serial number, not of the device that it is in")
	}
	if c.Devices[1].GetSerialNumber() != nil || c.Devices[1].GetManufacturer() != nil {
		t.Error("a part does not have the serial number of the whole")
	}
}

func TestAReadingKeepsItsIdentity(t *testing.T) {
	id := func(body string) string {
		t.Helper()
		c := accept(t, payload(body))
		return c.Observations[0].GetId().GetValue()
	}
	want := id(msh + pid + obr + mon + hr)
	for _, c := range []struct {
		what, body string
		same       bool
	}{
		{"another control id", strings.Replace(msh, "|1|P", "|2|P", 1) + pid + obr + mon + hr, true},
		{"a correction of value and status", msh + pid + obr + mon + strings.NewReplacer("|80|", "|81|", "|R", "|C").Replace(hr), true},
		{"the time in another offset", msh + pid + strings.Replace(obr, "120000+0100", "110000+0000", 1) + mon + hr, true},
		{"another set id", msh + pid + obr + mon + strings.Replace(hr, "OBX|2|", "OBX|7|", 1), true},
		{"zeros before the numbers of OBX-4", msh + pid + obr + mon + strings.Replace(hr, "1.1.1.1", "1.01.1.001", 1), true},
		{"another second", msh + pid + strings.Replace(obr, "120000", "120001", 1) + mon + hr, false},
		{"another channel", msh + pid + obr + mon + strings.Replace(hr, "1.1.1.1", "1.1.2.1", 1), false},
		{"another body site", msh + pid + obr + mon + hr + "|||||||||7771000^Left^SCT", false},
		{"another patient", msh + "\rPID|||4712^^^NORTH^MR" + obr + mon + hr, false},
		{"another device", msh + pid + obr + strings.Replace(mon, "3C4D", "3C4E", 1) + hr, false},
		{"another metric", msh + pid + obr + mon + strings.Replace(hr, "147842^MDC_ECG_CARD_BEAT_RATE", "151562^MDC_RESP_RATE", 1), false},
	} {
		if got := id(c.body); (got == want) != c.same {
			t.Errorf("%s: same id %v, want %v", c.what, got == want, c.same)
		}
	}
}

func TestStatus(t *testing.T) {
	for _, c := range []struct {
		what, value, status string
		want                codes.ObservationStatusCode_Value
	}{
		{"reported by the device", "80", "R", codes.ObservationStatusCode_PRELIMINARY},
		{"final", "80", "F", codes.ObservationStatusCode_FINAL},
		{"preliminary", "80", "P", codes.ObservationStatusCode_PRELIMINARY},
		{"corrected", "80", "C", codes.ObservationStatusCode_CORRECTED},
		{"amended", "80", "A", codes.ObservationStatusCode_AMENDED},
		{"deleted", "80", "D", codes.ObservationStatusCode_ENTERED_IN_ERROR},
		{"wrong", "80", "W", codes.ObservationStatusCode_ENTERED_IN_ERROR},
		{"no result", "", "X", codes.ObservationStatusCode_CANCELLED},
		{"no result, and a value", "80", "X", codes.ObservationStatusCode_UNKNOWN},
		{"not told", "80", "", codes.ObservationStatusCode_UNKNOWN},
		{"not of the table", "80", "Q", codes.ObservationStatusCode_UNKNOWN},
	} {
		o := only(t, "OBX|2|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|"+c.value+"|264864^MDC_DIM_BEAT_PER_MIN^MDC|||||"+c.status)
		if got := o.GetStatus().GetValue(); got != c.want {
			t.Errorf("%s: got %v, want %v", c.what, got, c.want)
		}
		if (o.GetValue() == nil) != (o.GetDataAbsentReason() != nil) {
			t.Errorf("%s: either a value or the reason for its absence must be there", c.what)
		}
	}
}

func TestFlags(t *testing.T) {
	for _, c := range []struct{ flag, value, absent, interpretation, security, comparator string }{
		{"", "80", "", "", "", ""},
		{"INV", "", "error", "", "UNRELIABLE", ""},
		{"QUES", "80", "", "questionable", "UNCERTREL", ""},
		{"NAV", "", "temp-unknown", "", "", ""},
		{"CAL", "80", "", "calibration-ongoing", "UNCERTREL", ""},
		{"TEST", "80", "", "", "HTEST", ""},
		{"DEMO", "80", "", "", "HTEST", ""},
		{"VAL", "80", "", "validated-data", "HRELIABLE", ""},
		{"EARLY", "80", "", "early-indication", "", ""},
		{"BUSY", "", "temp-unknown", "msmt-ongoing", "", ""},
		{"ALACT", "80", "", "in-alarm", "", ""},
		{"ALINH", "80", "", "alarm-inhibited", "", ""},
		{"NI", "", "unknown", "", "", ""},
		{"OFF", "", "not-performed", "", "", ""},
		{"<", "80", "", "<", "", "LESS_THAN"},
		{">", "80", "", ">", "", "GREATER_THAN"},
		{"HH", "80", "", "HH", "", ""},
		{"PM~SP", "80", "", "", "", ""},
		{"DEMO~QUES~L", "80", "", "questionable L", "HTEST UNCERTREL", ""},
	} {
		o := only(t, "OBX|2|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|80|264864^MDC_DIM_BEAT_PER_MIN^MDC||"+c.flag+"|||R")
		var interpretation, security []string
		for _, i := range o.GetInterpretation() {
			interpretation = append(interpretation, i.GetCoding()[0].GetCode().GetValue())
		}
		for _, s := range o.GetMeta().GetSecurity() {
			security = append(security, s.GetCode().GetValue())
		}
		absent, comparator := "", ""
		if a := o.GetDataAbsentReason(); a != nil {
			absent = a.GetCoding()[0].GetCode().GetValue()
		}
		q := o.GetValue().GetQuantity()
		if k := q.GetComparator(); k != nil {
			comparator = k.GetValue().String()
		}
		if q.GetValue().GetValue() != c.value || absent != c.absent || strings.Join(interpretation, " ") != c.interpretation || strings.Join(security, " ") != c.security || comparator != c.comparator {
			t.Errorf("%q: got value %q, absent %q, interpretation %v, security %v, comparator %q", c.flag, q.GetValue().GetValue(), absent, interpretation, security, comparator)
		}
	}
}

func TestDecimals(t *testing.T) {
	for _, c := range []struct {
		text, want string
		ok         bool
	}{
		{"37.60", "37.60", true}, {"5.00", "5.00", true}, {"0", "0", true}, {"-0.04", "-0.04", true}, {"1e-3", "1e-3", true}, {"1E+09", "1E+09", true},
		{"+5", "5", true}, {".5", "0.5", true}, {"-.5", "-0.5", true}, {"+.50", "0.50", true}, {"007", "7", true}, {"-007.50", "-7.50", true},
		{"00", "0", true}, {"5.", "5", true}, {" 5 ", "5", true}, {"000.1", "0.1", true},
		{"1e400", "", false}, {"", "", false}, {".", "", false}, {"-", "", false}, {"+", "", false}, {"--5", "", false}, {"+-5", "", false}, {"5,0", "", false}, {"1 2", "", false},
		{"0x10", "", false}, {"1_000", "", false}, {"5..", "", false}, {"..5", "", false}, {"NaN", "", false}, {"٣", "", false}, {strings.Repeat("9", 101), "", false},
	} {
		if got, ok := decimal(c.text); got != c.want || ok != c.ok {
			t.Errorf("%q: got %q, %v; want %q, %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

func TestAlarmLimits(t *testing.T) {
	for _, c := range []struct{ text, low, high string }{
		{"90-160", "90", "160"}, {"90^160", "90", "160"}, {"<500", "", "500"}, {">8", "8", ""}, {"[4.00;15.00]", "4.00", "15.00"},
		{"-5-10", "-5", "10"}, {"-10--5", "-10", "-5"}, {"-10", "", ""}, {"normal", "", ""}, {"[;15]", "", ""}, {"", "", ""},
	} {
		if low, high := bounds(c.text); low != c.low || high != c.high {
			t.Errorf("%q: got %q to %q", c.text, low, high)
		}
	}
	o := only(t, "OBX|2|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|80|264864^MDC_DIM_BEAT_PER_MIN^MDC|50-120||||R")
	if r := o.GetReferenceRange(); len(r) != 1 || r[0].GetType().GetCoding()[0].GetCode().GetValue() != "alarm-limits" {
		t.Error("limits of alarms must say that they are")
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct{ what, field, text, code string }{
		{"an MDC number", "266016^MDC_DIM_MMHG^MDC", "mm[Hg]", "mm[Hg]"},
		{"a UCUM code", "mm[Hg]^mmHg^UCUM", "mmHg", "mm[Hg]"},
		{"MDC, then UCUM", "266016^MDC_DIM_MMHG^MDC^mm[Hg]^mmHg^UCUM", "mmHg", "mm[Hg]"},
		{"UCUM, then MDC", "mm[Hg]^mmHg^UCUM^266016^MDC_DIM_MMHG^MDC", "mmHg", "mm[Hg]"},
		{"a reference id alone", "^MDC_DIM_MMHG^MDC", "mm[Hg]", "mm[Hg]"},
		{"a reference id without the system", "266016^MDC_DIM_MMHG", "mm[Hg]", "mm[Hg]"},
		{"a number that the reference id contradicts", "266016^MDC_DIM_KILO_PASCAL^MDC", "266016^MDC_DIM_KILO_PASCAL^MDC", ""},
		{"a number that the UCUM code contradicts", "266016^MDC_DIM_MMHG^MDC^kPa^kPa^UCUM", "266016^MDC_DIM_MMHG^MDC^kPa^kPa^UCUM", ""},
		{"the expected unit without a system", "mm[Hg]", "mm[Hg]", "mm[Hg]"},
		{"another unit without a system", "mmHg", "mmHg", ""},
		{"another UCUM code without a system, which may mean something else", "kPa", "kPa", ""},
		{"a unit that UCUM does not have", "micromol/L^x^UCUM", "x", ""},
		{"a number that is not known", "299999^^MDC", "MDC 299999", ""},
		{"not specified", "262144^MDC_DIM_NOS^MDC", "", ""},
		{"nothing", "", "", ""},
	} {
		o := only(t, "OBX|2|NM|150084^MDC_PRESS_BLD_VEN_CENT^MDC|1.1.1.1|8|"+c.field+"|||||R")
		q := o.GetValue().GetQuantity()
		if text, code := q.GetUnit().GetValue(), q.GetCode().GetValue(); text != c.text || code != c.code {
			t.Errorf("%s: got %q, %q; want %q, %q", c.what, text, code, c.text, c.code)
		}
		if (q.GetSystem().GetValue() == fhir.UCUM) != (c.code != "") {
			t.Errorf("%s: only UCUM codes have the system UCUM", c.what)
		}
	}
	o := only(t, "OBX|2|NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.1|80|{beat}/min^{beat}/min^UCUM|||||R")
	if q := o.GetValue().GetQuantity(); q.GetCode().GetValue() != "/min" || q.GetUnit().GetValue() != "{beat}/min" || len(o.GetMeta().GetProfile()) != 1 {
		t.Errorf("the annotation belongs into the unit, not into the code: %v", q)
	}
}

func TestPressuresAreOneObservation(t *testing.T) {
	row := func(n, code, path, value, rest string) string {
		return "\rOBX|" + n + "|NM|" + code + "^^MDC|" + path + "|" + value + "|266016^MDC_DIM_MMHG^MDC|||||R" + rest
	}
	for _, c := range []struct {
		what, rows   string
		observations int
	}{
		{"three rows", row("2", "150021", "1.1.1.1", "120", "") + row("3", "150022", "1.1.1.2", "80", "") + row("4", "150023", "1.1.1.3", "95", ""), 1},
		{"in any order", row("2", "150023", "1.1.1.1", "95", "") + hr + row("3", "150021", "1.1.1.2", "120", "") + row("4", "150022", "1.1.1.3", "80", ""), 2},
		{"the mean alone", row("2", "150023", "1.1.1.3", "95", ""), 1},
		{"two times", row("2", "150021", "1.1.1.1", "120", "|||20260301115000+0100") + row("3", "150022", "1.1.1.2", "80", ""), 2},
		{"two channels", row("2", "150021", "1.1.1.1", "120", "") + row("3", "150022", "1.1.2.2", "80", ""), 2},
		{"two sites", row("2", "150021", "1.1.1.1", "120", "|||||||||1^L^SCT") + row("3", "150022", "1.1.1.2", "80", ""), 2},
		{"two measurements that nothing tells apart", row("2", "150021", "1.1.1.1", "120", "") + row("3", "150022", "1.1.1.2", "80", "") + row("4", "150021", "1.1.1.1", "130", "") + row("5", "150022", "1.1.1.2", "85", ""), 2},
		{"an arterial pressure, which has no published LOINC codes", row("2", "150033", "1.1.1.1", "120", "") + row("3", "150034", "1.1.1.2", "80", ""), 2},
	} {
		got := accept(t, payload(msh+pid+obr+mon+c.rows))
		if len(got.Observations) != c.observations {
			t.Errorf("%s: got %d observations, want %d", c.what, len(got.Observations), c.observations)
		}
		if len(got.Skipped) != 0 {
			t.Errorf("%s: skipped %v", c.what, got.Skipped)
		}
	}
}

func TestPatients(t *testing.T) {
	stated := fhir.Identifier{System: "http://north.example/mrn", Value: "A"}
	mapped := fhir.Identifier{System: "http://north.example/mrn", Value: "M"}
	for _, c := range []struct {
		what, pid string
		source    adapters.Source
		want      fhir.Identifier
	}{
		{"medical record number before the others", "V^^^N^VN~P^^^N^PI~M^^^N^MR", adapters.Source{}, fhir.Identifier{System: "urn:id:N", Value: "M"}},
		{"patient number before the rest", "X^^^N^XX~P^^^N^PI", adapters.Source{}, fhir.Identifier{System: "urn:id:N", Value: "P"}},
		{"account number last", "A^^^N^AN~X^^^N", adapters.Source{}, fhir.Identifier{System: "urn:id:N", Value: "X"}},
		{"an OID", "M^^^N&1.2.3&ISO^MR", adapters.Source{}, fhir.Identifier{System: "urn:oid:1.2.3", Value: "M"}},
		{"a UUID", "M^^^&F9BD67BA-10F9-11EA-BAB1-0050B612AFEB&UUID^MR", adapters.Source{}, fhir.Identifier{System: "urn:uuid:f9bd67ba-10f9-11ea-bab1-0050b612afeb", Value: "M"}},
		{"a URI", "M^^^&http://n.example/mrn&URI^MR", adapters.Source{}, fhir.Identifier{System: "http://n.example/mrn", Value: "M"}},
		{"a domain", "M^^^&n.example&DNS^MR", adapters.Source{}, fhir.Identifier{System: "urn:id:n.example", Value: "M"}},
		{"a namespace, and the system of the site", "M^^^N^MR", adapters.Source{PatientSystem: "http://s.example"}, fhir.Identifier{System: "http://s.example", Value: "M"}},
		{"an OID, whatever the system of the site", "M^^^N&1.2.3&ISO^MR", adapters.Source{PatientSystem: "http://s.example"}, fhir.Identifier{System: "urn:oid:1.2.3", Value: "M"}},
		{"no authority, and the system of the site", "M", adapters.Source{PatientSystem: "http://s.example"}, fhir.Identifier{System: "http://s.example", Value: "M"}},
		{"no authority: one of the sender's", "M", adapters.Source{}, fhir.Identifier{System: fhir.Namespace + "patient-id/WARD", Value: "M"}},
		{"stated by the site", "M^^^N^MR", adapters.Source{Patient: stated}, stated},
		{"stated by the site, no PID-3", "", adapters.Source{Patient: stated}, stated},
		{"mapped by the site, which beats what it states", "X^^^N~M^^^N^MR", adapters.Source{Patient: stated, Patients: map[string]fhir.Identifier{"M": mapped}}, mapped},
		{"null", `""`, adapters.Source{}, fhir.Identifier{}},
	} {
		p := payload(msh + "\rPID|||" + c.pid + obr + mon + hr)
		p.Source = c.source
		got := accept(t, p)
		patient := fhir.Identifier{}
		if len(got.Patients) > 0 {
			patient = got.Patients[0]
		}
		if patient != c.want || len(got.Observations) != 1 {
			t.Errorf("%s: got %v, want %v; skipped %v", c.what, patient, c.want, got.Skipped)
		}
	}
	if got := accept(t, payload(msh+"\rPID||7^^^N|||"+obr+mon+hr)); got.Patients[0].Value != "7" {
		t.Errorf("PID-2 where PID-3 is empty: got %v", got.Patients)
	}
	nobody := strings.Replace(msh, "|GW^02A0C9FFFE100001^EUI-64|WARD|", "|||", 1)
	if got := accept(t, payload(nobody+"\rPID|||7"+obr+mon+hr)); len(got.Observations) != 0 || len(got.Unresolved()) != 2 {
		t.Errorf("a number of nobody's is no patient: %v", got.Patients)
	}
}

func TestTimes(t *testing.T) {
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	bare := strings.Replace(msh, "120002+0100", "120002", 1)
	local := strings.Replace(obr, "+0100", "", 1)
	part := strings.Replace(mon, "|X|||||||", "|X|||20260301110000+0000||||", 1)
	for _, c := range []struct {
		what, body string
		zone       *time.Location
		want       string
		how        when.Outcome
	}{
		{"the offset of the time", msh + pid + obr + mon + hr + "|||20260301130000-0330", berlin, "2026-03-01T13:00:00-03:30", ""},
		{"OBX-14 before that of the MDS", msh + pid + obr + part + hr + "|||20260301130000+0100", nil, "2026-03-01T13:00:00+01:00", ""},
		{"the MDS before OBR-7", msh + pid + obr + part + hr, nil, "2026-03-01T11:00:00Z", ""},
		{"OBR-7", msh + pid + obr + mon + hr, nil, "2026-03-01T12:00:00+01:00", ""},
		{"the zone of the source", msh + pid + local + mon + hr, berlin, "2026-03-01T12:00:00+01:00", when.ConfiguredZone},
		{"the offset of MSH-7", msh + pid + local + mon + hr, nil, "2026-03-01T12:00:00+01:00", when.ExplicitZone},
		{"no offset at all", bare + pid + local + mon + hr, nil, "", ""},
		{"a null time is none", msh + pid + obr + mon + hr + `|||""`, nil, "2026-03-01T12:00:00+01:00", ""},
		{"no time at all", msh + pid + "\rOBR|1" + mon + hr, nil, "", ""},
		{"a broken time is not replaced by another", msh + pid + obr + mon + hr + "|||yesterday", nil, "", ""},
	} {
		p := payload(c.body)
		p.Source.Zone = c.zone
		got := accept(t, p)
		if c.want == "" {
			if len(got.Observations) != 0 || len(got.Unresolved()) != 1 {
				t.Errorf("%s: must be refused", c.what)
			}
			continue
		}
		want, err := time.Parse(time.RFC3339, c.want)
		if err != nil {
			t.Fatal(err)
		}
		at := got.Observations[0].GetEffective().GetDateTime()
		how := when.Outcome("")
		if x := at.GetExtension(); len(x) > 0 {
			how = when.Outcome(x[0].GetValue().GetCode().GetValue())
		}
		if at.GetValueUs() != want.UnixMicro() || how != c.how {
			t.Errorf("%s: got %v %q", c.what, time.UnixMicro(at.GetValueUs()).UTC(), how)
		}
	}
}

func TestDoubtsAreTold(t *testing.T) {
	for _, c := range []struct{ what, body, path, want string }{
		{"a known metric under another number", strings.Replace(hr, "147842", "150456", 1), "OBX[2]-3", "name different things"},
		{"a private code with the system MDC", strings.Replace(hr, "MDC_ECG_CARD_BEAT_RATE", "MNDRY_EVT_X", 1), "OBX[2]-3", "name different things"},
		{"the status", strings.Replace(hr, "|R", "|X", 1), "OBX[2]-11", "published with status unknown"},
		{"a text with a unit", strings.Replace(hr, "|NM|", "|ST|", 1), "OBX[2]-2", "there is no quantity"},
		{"a reading younger than its message", hr + "|||20260301120500+0100", "OBX[2]-14", "younger than the message"},
		{"a reading of long ago", hr + "|||20250301120000+0100", "OBX[2]-14", "older than the message"},
	} {
		got := accept(t, payload(msh+pid+obr+mon+c.body))
		if len(got.Observations) != 1 || len(got.Warnings) != 1 || got.Warnings[0].Path != c.path || !strings.Contains(got.Warnings[0].Message, c.want) {
			t.Errorf("%s: got %v", c.what, got.Warnings)
		}
	}
	for _, row := range []string{strings.Replace(hr, "147842", "150456", 1), strings.Replace(hr, "MDC_ECG_CARD_BEAT_RATE", "MNDRY_EVT_X", 1)} {
		o := accept(t, payload(msh+pid+obr+mon+row)).Observations[0]
		for _, c := range o.GetCode().GetCoding() {
			if s := c.GetSystem().GetValue(); s == fhir.LOINC || s == fhir.MDC {
				t.Errorf("a doubtful code must have no code of LOINC or MDC: %v", o.GetCode())
			}
		}
		if len(o.GetMeta().GetProfile()) != 0 {
			t.Error("a doubtful code must claim no profile")
		}
	}
	if got := accept(t, payload(msh+pid+obr+mon+strings.Replace(hr, "MDC_ECG_CARD_BEAT_RATE", "MDC_ECG_HEART_RATE", 1))); len(got.Warnings) != 0 {
		t.Errorf("a synonym is no doubt: %v", got.Warnings)
	}
}

// No text that a person reads may quote the payload.
func TestIssuesQuoteNothingOfThePatient(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.input")
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range inputs {
		c, err := New().Convert(adaptertest.Load(t, input))
		issues := append(c.Skipped, c.Warnings...)
		if err != nil {
			issues = fhir.IssuesOf(err)
		}
		for _, i := range issues {
			for _, secret := range []string{"4711", "4712", "4717", "4718", "4719", "Sample", "Ada", "ninety", "HX-22", "S000001", "1001"} {
				if strings.Contains(i.Error(), secret) {
					t.Errorf("%s: %q is quoted in %q", input, secret, i.Error())
				}
			}
		}
	}
}

func TestSamplesAreAccountedFor(t *testing.T) {
	dir := filepath.Join(fhirtest.Shared(t), "samples")
	zone := time.FixedZone("", -5*3600)
	converted, refused := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if !strings.HasPrefix(string(body), "MSH|") {
			return nil
		}
		p := payload(string(body))
		p.Source.Zone = zone
		c, err := adaptertest.Accept(t, New(), p)
		is := strings.Contains(filepath.Base(path), "pcd01") || strings.Contains(filepath.Base(path), "PCD01")
		if is != (err == nil) || is != New().Detect(p) {
			t.Errorf("%s: %v, detected %v", filepath.Base(path), err, New().Detect(p))
		}
		if err != nil {
			refused++
			return nil
		}
		converted++
		if len(c.Unresolved()) > 0 {
			t.Errorf("%s: %v", filepath.Base(path), c.Unresolved())
		}
		if want := strings.Count("\n"+strings.ReplaceAll(string(body), "\r", "\n"), "\nOBX|"); c.Rows != want || c.Mapped == 0 {
			t.Errorf("%s: %d rows of %d, %d mapped", filepath.Base(path), c.Rows, want, c.Mapped)
		}
		return nil
	})
	if err != nil || converted < 3 || refused < 10 {
		t.Fatalf("%d converted, %d refused, %v", converted, refused, err)
	}
}

func FuzzConvert(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.input")
	if err != nil {
		f.Fatal(err)
	}
	for _, input := range inputs {
		body, err := os.ReadFile(input)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	a, zone := New(), time.FixedZone("", 3600)
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, source := range []adapters.Source{{}, {Zone: zone, Patient: fhir.Identifier{System: "urn:x", Value: "1"}}} {
			adaptertest.Survive(t, a, adapters.Payload{Body: body, Received: received, Source: source})
		}
	})
}
