package ihepcd

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/kiln-health/kiln/adapters"
)

// monitor is a message of a bedside monitor with a device tree and 60 rows.
func monitor() []byte {
	var b strings.Builder
	b.WriteString("MSH|^~\\&|GW^080019FFFE3ED02D^EUI-64|WARD|||20260301120002+0100||ORU^R01^ORU_R01|1|P|2.6|||AL|NE||UNICODE UTF-8|||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO\r" +
		"PID|||4711^^^HOSP&1.2.276.0.76.4.1&ISO^MR\rPV1||I|ICU^1^2\rOBR|1|||69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||20260301120000+0100\r")
	rows := []string{
		"|69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|1.0.0.0|||||||X|||||||^^0019A0FFFE010203^EUI-64",
		"|69798^MDC_DEV_ECG_VMD^MDC|1.1.0.0|||||||X",
		"|69642^MDC_DEV_ANALY_SAT_O2_VMD^MDC|1.2.0.0|||||||X",
	}
	metrics := []string{
		"NM|147842^MDC_ECG_CARD_BEAT_RATE^MDC|1.1.1.%|80|264864^MDC_DIM_BEAT_PER_MIN^MDC|50-120||||R",
		"NM|150456^MDC_PULS_OXIM_SAT_O2^MDC|1.2.1.%|97|262688^MDC_DIM_PERCENT^MDC|90-100||||R",
		"NM|151562^MDC_RESP_RATE^MDC|1.1.2.%|14|264928^MDC_DIM_RESP_PER_MIN^MDC|||||R",
		"NM|150084^MDC_PRESS_BLD_VEN_CENT^MDC|1.3.1.%|8|266016^MDC_DIM_MMHG^MDC|||||R",
		"NM|150344^MDC_TEMP^MDC|1.4.1.%|37.60|268192^MDC_DIM_DEGC^MDC|||||R",
		"NM|149530^MDC_PULS_OXIM_PULS_RATE^MDC|1.2.1.%|81|264896^MDC_DIM_PULS_PER_MIN^MDC|||||R",
	}
	for n := 0; len(rows) < 60; n++ {
		rows = append(rows, strings.Replace(metrics[n%len(metrics)], "%", strconv.Itoa(n+1), 1))
	}
	for i, r := range rows {
		b.WriteString("OBX|" + strconv.Itoa(i+1) + "|" + r + "\r")
	}
	return []byte(b.String())
}

func BenchmarkConvert(b *testing.B) {
	a := New()
	p := adapters.Payload{Body: monitor(), Received: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	observations := 0
	b.ReportAllocs()
	b.SetBytes(int64(len(p.Body)))
	for b.Loop() {
		c, err := a.Convert(p)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := c.Resources(); err != nil {
			b.Fatal(err)
		}
		observations += len(c.Observations)
	}
	b.ReportMetric(float64(observations)/b.Elapsed().Seconds(), "obs/s")
}

func BenchmarkDetect(b *testing.B) {
	a := New()
	p := adapters.Payload{Body: monitor()}
	for b.Loop() {
		if !a.Detect(p) {
			b.Fatal("not detected")
		}
	}
}
