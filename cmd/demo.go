package cmd

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math"
	"strings"
	"time"

	"github.com/kiln-health/kiln/adapters/ingest"
	"github.com/kiln-health/kiln/fhir"
)

// The simulated patients. Their identifiers name no real system.
const demoPatients = fhir.Namespace + "demo-patient"

// demoPayload is what one simulated device sends: the bytes that a real one would send.
type demoPayload struct {
	origin    ingest.Origin
	mediaType string
	body      []byte
}

// runDemo lets simulated devices send through the real adapters until ctx ends: first the
// day that has passed, then the present.
func runDemo(ctx context.Context, p *ingest.Pipeline, logger *slog.Logger) {
	send := func(payloads ...demoPayload) {
		for _, d := range payloads {
			if ctx.Err() != nil {
				return
			}
			if _, err := p.Accept(ctx, d.origin, d.mediaType, d.body); err != nil && ctx.Err() == nil {
				logger.Error("a simulated payload was not stored", "adapter", d.origin.Adapter, "error", err)
			}
		}
	}
	now := time.Now().UTC().Truncate(time.Minute)
	for t := now.Add(-time.Hour); !t.After(now); t = t.Add(time.Minute) {
		send(demoMonitor(t))
	}
	send(demoCGM(now), demoCuff(now.Add(-9*time.Hour)), demoCuff(now), demoScale(now))
	logger.Info("simulated devices run: a bedside monitor, a CGM, a blood pressure cuff and a scale", "patient system", demoPatients)

	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for last := now; ; {
		select {
		case <-ctx.Done():
			return
		case t := <-tick.C:
			t = t.UTC().Truncate(time.Second)
			send(demoMonitor(t))
			if t.Sub(last) >= 5*time.Minute {
				last = t
				send(demoCGM(t), demoCuff(t), demoScale(t))
			}
		}
	}
}

// wave is a smooth course with some noise: mean ± swing over the period, the same for the
// same name and time.
func wave(name string, t time.Time, mean, swing float64, period time.Duration) float64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], uint64(t.Unix()))
	h.Write(b[:])
	noise := float64(h.Sum64()%1000)/1000 - 0.5
	return mean + swing*math.Sin(2*math.Pi*float64(t.Unix())/period.Seconds()) + swing*noise/3
}

// demoMonitor is a PCD-01 message of a bedside monitor, marked as a test (MSH-11 T).
func demoMonitor(t time.Time) demoPayload {
	at := t.Format("20060102150405-0700")
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\r", args...) }
	line(`MSH|^~\&|KILN_DEMO_GATEWAY^0011223344556677^EUI-64|KILN_DEMO|||%s||ORU^R01^ORU_R01|%d|T|2.6|||AL|NE||UNICODE UTF-8|||IHE_PCD_001^IHE PCD^1.3.6.1.4.1.19376.1.6.1.1.1^ISO`, at, t.Unix())
	line(`PID|||bed-1^^^DEMO&%s&URI^MR`, demoPatients)
	line(`PV1||I|DEMO^1^1`)
	line(`OBR|1||%d|69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC|||%s`, t.Unix(), at)
	n := 0
	row := func(kind, code, path, value, unit, status, device string) {
		n++
		line(`OBX|%d|%s|%s|%s|%s|%s|||||%s|||%s||||%s`, n, kind, code, path, value, unit, status, at, device)
	}
	row("", "69965^MDC_DEV_MON_PHYSIO_MULTI_PARAM_MDS^MDC", "1.0.0.0", "", "", "X", "0011223344556688^^0011223344556688^EUI-64")
	row("", "4262^MDC_DEV_ECG_VMD^MDC", "1.1.0.0", "", "", "X", "")
	row("NM", "147842^MDC_ECG_CARD_BEAT_RATE^MDC", "1.1.1.1", fmt.Sprintf("%.0f", wave("hr", t, 74, 8, 7*time.Minute)), "264864^MDC_DIM_BEAT_PER_MIN^MDC", "R", "")
	row("", "69642^MDC_DEV_ANALY_SAT_O2_VMD^MDC", "1.2.0.0", "", "", "X", "")
	row("NM", "150456^MDC_PULS_OXIM_SAT_O2^MDC", "1.2.1.1", fmt.Sprintf("%.0f", min(100, wave("spo2", t, 97, 1.5, 11*time.Minute))), "262688^MDC_DIM_PERCENT^MDC", "R", "")
	row("NM", "151562^MDC_RESP_RATE^MDC", "1.1.1.2", fmt.Sprintf("%.0f", wave("rr", t, 15, 2, 5*time.Minute)), "264928^MDC_DIM_RESP_PER_MIN^MDC", "R", "")
	if t.Minute()%5 == 0 && t.Second() < 10 {
		systolic := wave("sys", t, 122, 9, time.Hour)
		row("", "70686^MDC_DEV_PRESS_BLD_NONINV_VMD^MDC", "1.3.0.0", "", "", "X", "")
		for i, v := range []float64{systolic, systolic * .64, systolic * .76} {
			code := []string{"150021^MDC_PRESS_BLD_NONINV_SYS^MDC", "150022^MDC_PRESS_BLD_NONINV_DIA^MDC", "150023^MDC_PRESS_BLD_NONINV_MEAN^MDC"}[i]
			row("NM", code, fmt.Sprintf("1.3.1.%d", i+1), fmt.Sprintf("%.0f", v), "266016^MDC_DIM_MMHG^MDC", "R", "")
		}
	}
	return demoPayload{ingest.Origin{Adapter: "ihepcd"}, "", []byte(b.String())}
}

// demoCGM is the export of the last 24 hours of a CGM, in local time of Berlin.
func demoCGM(t time.Time) demoPayload {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil { // the database is built in
		zone = time.UTC
	}
	var b strings.Builder
	b.WriteString("Index,Timestamp (YYYY-MM-DDThh:mm:ss),Event Type,Event Subtype,Patient Info,Device Info,Source Device ID,Glucose Value (mg/dL),Insulin Value (u),Carb Value (grams),Duration (hh:mm:ss),Glucose Rate of Change (mg/dL/min),Transmitter Time (Long Integer),Transmitter ID\n")
	b.WriteString("1,,Device,,,Dexcom G6 Mobile App,iPhone G6,,,,,,,\n")
	t = t.Truncate(5 * time.Minute)
	const transmitter = "8DEMO1"
	activated := time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	for i := range 288 {
		at := t.Add(time.Duration(i-287) * 5 * time.Minute)
		fmt.Fprintf(&b, "%d,%s,EGV,,,,iPhone G6,%.0f,,,,,%d,%s\n", i+2, at.In(zone).Format("2006-01-02T15:04:05"), wave("glucose", at, 128, 38, 4*time.Hour), at.Unix()-activated, transmitter)
	}
	return demoPayload{ingest.Origin{Adapter: "dexcomclarity", Zone: "Europe/Berlin", Patient: demoPatients + "|home-1"}, "text/csv", []byte(b.String())}
}

// demoCuff is a blood pressure measurement (characteristic 2A35) as a phone forwards it.
func demoCuff(t time.Time) demoPayload {
	systolic := uint16(wave("cuff", t, 128, 10, 24*time.Hour))
	value := []byte{0b0000_0110} // mmHg, with time and pulse
	for _, mmHg := range []uint16{systolic, systolic * 5 / 8, systolic * 3 / 4} {
		value = binary.LittleEndian.AppendUint16(value, mmHg) // SFLOAT with exponent 0
	}
	value = binary.LittleEndian.AppendUint16(value, uint16(t.Year()))
	value = append(value, byte(t.Month()), byte(t.Day()), byte(t.Hour()), byte(t.Minute()), byte(t.Second()))
	value = binary.LittleEndian.AppendUint16(value, uint16(wave("pulse", t, 70, 6, time.Hour)))
	body, err := json.Marshal(map[string]any{
		"characteristic": "2A35",
		"hex":            fmt.Sprintf("%x", value),
		"receivedAt":     t.Add(2 * time.Second).Format(time.RFC3339),
		"device":         map[string]string{"address": "02:00:00:00:00:01", "manufacturer": "Kiln demo", "model": "Cuff 1"},
	})
	if err != nil { // strings only
		return demoPayload{}
	}
	return demoPayload{ingest.Origin{Adapter: "gatt", Zone: "+00:00", Patient: demoPatients + "|home-1"}, "application/json", body}
}

// demoScale is what a scale's cloud returns: one weight for each of the last 30 days.
func demoScale(t time.Time) demoPayload {
	var groups []string
	day := t.Truncate(24 * time.Hour).Add(6*time.Hour + 30*time.Minute)
	for i := range 30 {
		at := day.AddDate(0, 0, i-30)
		groups = append(groups, fmt.Sprintf(`{"grpid":%d,"attrib":0,"date":%d,"created":%d,"modified":%d,"category":1,"deviceid":"kiln-demo-scale","hash_deviceid":"kiln-demo-scale","model":"Body+","modelid":5,"measures":[{"value":%.0f,"type":1,"unit":-3}]}`,
			at.Unix()/86400, at.Unix(), at.Unix()+60, at.Unix()+60, wave("weight", at, 78400, 700, 20*24*time.Hour)))
	}
	body := `{"status":0,"body":{"updatetime":` + fmt.Sprint(t.Unix()) + `,"timezone":"Europe/Berlin","measuregrps":[` + strings.Join(groups, ",") + `]}}`
	return demoPayload{ingest.Origin{Adapter: "withings", Patient: demoPatients + "|home-1"}, "application/json", []byte(body)}
}
