package ihepcd

import (
	"bytes"

	"github.com/kiln-health/kiln/adapters"
	"github.com/kiln-health/kiln/adapters/format/hl7v2"
)

// detectBytes is how much of a payload Detect looks at.
const detectBytes = 64 << 10

// Detect recognises an observation report ORU^R01 that has an observation with an MDC
// code or names a profile of IHE PCD in MSH-21.
func (a *Adapter) Detect(p adapters.Payload) bool {
	body := p.Body
	if !bytes.Contains(body[:min(len(body), 1024)], []byte("MSH")) && !bytes.Contains(body[:min(len(body), 1024)], []byte("M\x00S\x00H")) {
		return false
	}
	if len(body) > detectBytes {
		// Whole lines only, and of the first message only as much as there is.
		body = body[:detectBytes]
		end := bytes.LastIndexAny(body, "\r\n")
		if end < 0 {
			return false
		}
		body = body[:end]
	}
	messages, err := hl7v2.Parse(body)
	if err != nil {
		return false
	}
	_, ok := newWork(p).supported(messages[0])
	return ok
}
