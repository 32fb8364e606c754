package gatt

import (
	"errors"
	"strconv"

	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/fhir"
)

// errOtherUser means that gateway and device disagree about the user.
var errOtherUser = errors.New("the gateway names another user than the device")

// unknownUser stands for the user index 255. No gateway can name a user so: control
// characters are refused.
const unknownUser = "\x00"

// index is the user index in the bytes, or nil.
func (r *row) index() *uint8 {
	switch m := r.said.(type) {
	case *format.BloodPressure:
		return m.User
	case *format.Weight:
		return m.User
	case *format.BodyComposition:
		return m.User
	}
	return nil
}

// user is whom a row names: what the gateway says, else the user index in the bytes,
// unknownUser for the index 255, nothing where nobody is named.
func (r *row) user() (string, error) {
	index := r.index()
	if index == nil || *index == format.UnknownUser && r.entry.user != "" {
		return r.entry.user, nil
	}
	if *index == format.UnknownUser {
		return unknownUser, nil
	}
	name := strconv.Itoa(int(*index))
	if r.entry.user == "" || r.entry.user == name {
		return name, nil
	}
	// A gateway may name its users in words; a number is an index as the device's is.
	if _, err := strconv.Atoi(r.entry.user); err == nil {
		return "", errOtherUser
	}
	return r.entry.user, nil
}

const (
	fixPatients = `map each user of the device in the configuration of the source: patients: {"1": "system|value"}`
	fixPatient  = "state the patient: patient=system|value in the source's configuration, or --patient"
)

// subject decides whom a row is about. It is false where that would be a guess: then
// the row is refused. A zero identifier is nobody.
func (c *converter) subject(r *row) (fhir.Identifier, bool) {
	s := c.p.Source
	name, err := r.user()
	switch {
	case err != nil:
		r.refuse(fhir.CodeConflict, "send the user that is right, or none", err.Error())
		return fhir.Identifier{}, false
	case len(s.Patients) > 0 && name == unknownUser:
		r.refuse(fhir.CodeBusinessRule, `ask who it was, add "user" to the value, then replay it`, "the device does not know its user")
		return fhir.Identifier{}, false
	case len(s.Patients) > 0 && name != "":
		patient, ok := s.Patients[name]
		if !ok {
			r.refuse(fhir.CodeBusinessRule, fixPatients, "the user of the device is not mapped to a patient")
		}
		return patient, ok
	case s.Patient.IsZero():
		c.warnOnce("patient", fhir.CodeRequired, r.path, fixPatient, "no patient is given: the readings are about the device")
		return fhir.Identifier{}, true
	case len(s.Patients) == 0 && len(r.unit.users) > 1:
		r.refuse(fhir.CodeBusinessRule, fixPatients, "the sensor has values of more than one user, and the source states one patient")
		return fhir.Identifier{}, false
	case name != "" && len(s.Patients) == 0:
		c.warnOnce("user", fhir.CodeBusinessRule, r.path, fixPatients, "the device names a user, who was taken to be the patient of the source")
	}
	return s.Patient, true
}
