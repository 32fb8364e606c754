package search

import "time"

// In is p in a place of the world: a date or a time that carries no offset, whether in a
// resource or in a query, is one of that zone. So date=2024-05-01 finds what was measured on
// the first of May as the clocks on the wall had it, and also what says 2024-05-01 and no more,
// wherever the server runs. Without In the zone is UTC. A store that has indexed in one zone
// has to index anew for another, which Fingerprint tells.
// http://hl7.org/fhir/R4/search.html#date
func (p *Parameters) In(zone *time.Location) *Parameters {
	q := *p
	q.zone = zone
	return &q
}

// at is the zone of what says none.
func (p *Parameters) at() *time.Location {
	if p.zone == nil {
		return time.UTC
	}
	return p.zone
}
