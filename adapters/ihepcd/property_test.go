package ihepcd

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"
	"pgregory.net/rapid"

	"github.com/kiln-health/kiln/adapters"
)

// What senders write into the fields of a report, and what they should not.
var (
	types    = []string{"NM", "NM", "NM", "ST", "CWE", "SN", "DTM", "TM", "NA", "ED", "NR", "IS", "", "nm", "XPN"}
	obsCodes = []string{"147842^MDC_ECG_CARD_BEAT_RATE^MDC", "150456^MDC_PULS_OXIM_SAT_O2^MDC", "150021^MDC_PRESS_BLD_NONINV_SYS^MDC", "150022^MDC_PRESS_BLD_NONINV_DIA^MDC", "150023^^MDC",
		"150020^MDC_PRESS_BLD_NONINV^MDC", "150017^^MDC", "69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC", "69798^MDC_DEV_ECG_VMD^MDC", "131330^MDC_ECG_ELEC_POTL_II^MDC", "0^MDC_ATTR_SAMP_RATE^MDC",
		"0^MDC_ATTR_TIME_PD_SAMP^MDC", "2381^MDC_ATTR_NU_MSMT_RES^MDC", "262196^MDC_EVT_INOP^MDC", "67975^MDC_ATTR_TIME_ABS^MDC", "531969^MDC_ID_MODEL_NUMBER^MDC", "531970^MDC_ID_MODEL_MANUFACTURER^MDC",
		"531972^MDC_ID_PROD_SPEC_SERIAL^MDC", "364^MNDRY_X^99MNDRY", "0^MDCX_Y^MDC", "150456^MDC_TEMP^MDC", "8867-4^HR^LN", "BAD^x^LN", "150344^MDC_TEMP^MDC^8310-5^t^LN", "^only text", "16929196^MDC_VENT_VOL_TIDAL_SETTING^MDC",
		"770^MDC_ECG_AMPL_ST_II^MDC", "4294967296^X^MDC", "", "^", "a\\.br\\b^c\\X01\\d^\\X20\\"}
	places = []string{"1.0.0.0", "1.1.0.0", "1.1.1.0", "1.1.1.1", "1.1.1.2", "1.1.1.1.1", "1.1.1.1.2", "1", "1.0.1", "1.0.1.1", "0.0.0.1", "2.0.0.0", "2.1.1.1", "", "LOC", "1..1", "1.1.1.1.1.1.1", "99999999999", "1.1.1.150344", "01.1.1.1"}
	values = []string{"80", "37.60", "", "+5", ".5", "---", "NaN", "<70", ">=3", "32767", "1^2^3^x", "1^2^^-3^32767", "^1^:^2", ">^5", "^1^-^9", "<>^3", "MDC_ECG_SINUS_RHY", "147474^MDC_ECG_SINUS_RHY^MDC", "^free text", "a~b", `""`,
		"20260301120000", "20260301120000+0100", "083000", "1~2", "text\\F\\\\X00\\\\.br\\more", " ", "\\X0A\\", "1e400", "^Application^PDF^Base64^JVBERi0xLjQK"}
	units      = []string{"", "266016^MDC_DIM_MMHG^MDC", "264864^MDC_DIM_BEAT_PER_MIN^MDC", "%^%^UCUM", "mm[Hg]^mm[Hg]^UCUM^265987^MDC_DIM_KILO_PASCAL^MDC", "264640^MDC_DIM_HZ^MDC", "10.mV/4096^x^UCUM", "bpm", "^^MDC", "262144^MDC_DIM_NOS^MDC", "9^X^MDC", "{x^{x^UCUM"}
	ranges     = []string{"", "", "90-160", "<500", "[4;15]", "x", "--"}
	flags      = []string{"", "", "", "INV", "QUES~DEMO", "NAV", "<", ">", "CAL~L", "ODD", "~", "PM~SP"}
	states     = []string{"|R", "|F", "|X", "|C", "|", "F|", "|W", "|?"}
	moments    = []string{"20260301120000+0100", "", "", "", "20260301120000+0100", "20260301115500", "20260301", "202603", "19100000000000", "2026030112", `""`, "20991231235959+0000", "20260301120000.1234-0330"}
	methods    = []string{"", "", "AMEAS", "MSET^x^MDC", "1^y^99Z~ASET", "^"}
	equipments = []string{"", "", "", "^^02A0C9FFFE2B3C4D^EUI-64", "SN^M^02A0C9FFFE2B3C4D^EUI-64", "P1^^0012210000000000^EUI-64", "x^EUI-64", "0600dc750001", "^^1.2.3^ISO", "a^^b^UUID", "id^b c^d^URI", "A~B", "^^^"}
	sites      = []string{"", "", "7771000^Left^SCT", "0^MDCX_SITE^MDC", "x"}
	headers    = []string{`|GW^02A0C9FFFE100001^EUI-64|WARD|||20260301120002+0100`, `|||||20260301120002+0100`, `|GW||||20260301120002`, `|G W^x^y|W/1|||`}
	people     = []string{"\rPID|||1^^^N^MR", "", "\rPID", "\rPID|||1^^^N^MR", "\rPID|||1^^^N^MR", "\rPID|||1^^^N^MR~2^^^N&1.2.3&ISO^PI", "\rPID||9|\"\"", "\rPID|||7", "\rPID|||^^^N"}
	beds       = []string{"", "\rPV1||I|ICU^1^2", "\rPV1||I|ICU"}
	orders     = []string{"\rOBR|1|||69965^MDC_DEV_X^MDC|||20260301120000+0100", "", "\rOBR|1|||69965^MDC_DEV_X^MDC|||20260301120000+0100", "\rOBR|1|||69965^MDC_DEV_X^MDC|||20260301120000+0100", "\rOBR|1|||69965^MDC_DEV_X^MDC|||20260301120000+0100|20260301120001+0100", "\rOBR|1|||x|||20260301120000|20260301120000", "\rOBR|1"}
)

// report draws a message of one to twelve rows.
func anyReport(t *rapid.T) string {
	pick := func(name string, from []string) string { return rapid.SampledFrom(from).Draw(t, name) }
	var b strings.Builder
	b.WriteString(`MSH|^~\&` + pick("header", headers) + "||ORU^R01^ORU_R01|1|" + pick("mode", []string{"P", "T", ""}) + "|2.6|||||||||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO")
	b.WriteString(pick("patient", people) + pick("bed", beds) + pick("order", orders))
	for n := range rapid.IntRange(1, 12).Draw(t, "rows") {
		switch rapid.IntRange(0, 12).Draw(t, "between") {
		case 0:
			b.WriteString(pick("order", orders))
		case 1:
			b.WriteString(pick("patient", people) + pick("bed", beds))
		case 2:
			b.WriteString("\rPRT|1|AD||EQUIP||||||" + pick("equipment", equipments) + "||||||UDI|2024|20290115|L|S")
		}
		fmt.Fprintf(&b, "\rOBX|%d|%s|%s|%s|%s|%s|%s|%s||%s|||%s|||%s|%s||%s", n+1, pick("type", types), pick("code", obsCodes), pick("place", places), pick("value", values), pick("unit", units),
			pick("range", ranges), pick("flag", flags), pick("state", states), pick("moment", moments), pick("method", methods), pick("equipment", equipments), pick("site", sites))
	}
	return b.String()
}

// Whatever a report says, each of its rows is accounted for, what it becomes is valid
// FHIR, and the report again is the same resources again.
func TestAnyReportAddsUp(t *testing.T) {
	google, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		t.Fatal(err)
	}
	a := New()
	readings := 0
	rapid.Check(t, func(t *rapid.T) {
		message := anyReport(t)
		observations := func(body string) map[string][]byte {
			c, err := a.Convert(adapters.Payload{Body: []byte(body), Received: received})
			if err != nil {
				t.Fatal(err)
			}
			if err := c.Check(); err != nil {
				t.Fatal(err)
			}
			resources, err := c.Resources()
			if err != nil {
				t.Fatal(err)
			}
			known, found := map[string]bool{}, map[string][]byte{}
			for _, r := range resources {
				if _, err := google.Unmarshal(r.JSON); err != nil {
					t.Fatalf("%v\n%s", err, r.JSON)
				}
				if r.Type == "Observation" {
					found[r.ID] = r.JSON
				}
				for _, part := range strings.Split(string(r.JSON), `"reference":"`)[1:] {
					if ref, _, _ := strings.Cut(part, `"`); !known[ref] {
						t.Fatalf("%s refers to %s, which does not come before it", r.Key, ref)
					}
				}
				known[r.Key.String()] = true
			}
			return found
		}
		once := observations(message)
		readings += len(once)
		twice := observations(message + "\r" + message)
		if len(twice) != len(once) {
			t.Fatalf("sent twice it is %d observations, sent once %d", len(twice), len(once))
		}
		for id, body := range once {
			if !bytes.Equal(twice[id], body) {
				t.Fatalf("sent twice it differs:\n%s\n%s", body, twice[id])
			}
		}
	})
	t.Logf("%d readings", readings)
}
