package gatt

import (
	"bytes"
	"encoding/hex"
	"strings"

	devpb "github.com/google/fhir/go/proto/google/fhir/proto/r4/core/resources/device_go_proto"

	format "github.com/kiln-health/kiln/adapters/format/gatt"
	"github.com/kiln-health/kiln/fhir"
)

// localID is the system of what a gateway calls a device where that is neither an EUI-64
// nor a Bluetooth address, such as the identifier that a phone gives in place of one.
const localID = fhir.Namespace + "device-id/gatt"

// device is what a gateway says of a sensor.
type device struct {
	address, systemID, manufacturer, model, serial, firmware, hardware, software, name string
}

// member is the text of a member of the JSON, or nil for one that is not known.
func (d *device) member(name string) *string {
	switch name {
	case "address":
		return &d.address
	case "systemId":
		return &d.systemID
	case "manufacturer":
		return &d.manufacturer
	case "model":
		return &d.model
	case "serial":
		return &d.serial
	case "firmware":
		return &d.firmware
	case "hardware":
		return &d.hardware
	case "software":
		return &d.software
	case "name":
		return &d.name
	}
	return nil
}

// information is the member that a characteristic of the Device Information Service
// tells, or nil for another characteristic.
func (d *device) information(of format.Characteristic) *string {
	switch of {
	case format.SystemID:
		return &d.systemID
	case format.ManufacturerName:
		return &d.manufacturer
	case format.ModelNumber:
		return &d.model
	case format.SerialNumber:
		return &d.serial
	case format.FirmwareRevision:
		return &d.firmware
	case format.HardwareRevision:
		return &d.hardware
	case format.SoftwareRevision:
		return &d.software
	}
	return nil
}

// identifiers are what names the unit, best first: the EUI-64, then the address. What is
// all zeros or all ones, or the address that Android gives in place of the true one,
// names no unit; useless tells that there was such a one.
func (d *device) identifiers() (ids []fhir.Identifier, useless bool) {
	add := func(text, system string, size int, write func([]byte) string) {
		if text == "" {
			return
		}
		b, err := format.ParseHex(text)
		switch {
		case err != nil || len(b) != size:
			ids = append(ids, fhir.Identifier{System: localID, Value: text})
		case bytes.Count(b, []byte{0}) == size, bytes.Count(b, []byte{0xFF}) == size, bytes.Equal(b, []byte{2, 0, 0, 0, 0, 0}):
			useless = true
		default:
			ids = append(ids, fhir.Identifier{System: system, Value: write(b)})
		}
	}
	address, _ := format.ParseHex(d.address)
	add(d.systemID, fhir.EUI64, 8, func(b []byte) string { return eui64(b, address) })
	add(d.address, fhir.BluetoothAddress, 6, func(b []byte) string {
		return strings.ToUpper(hex.EncodeToString(b[:1]) + "-" + hex.EncodeToString(b[1:2]) + "-" + hex.EncodeToString(b[2:3]) + "-" +
			hex.EncodeToString(b[3:4]) + "-" + hex.EncodeToString(b[4:5]) + "-" + hex.EncodeToString(b[5:6]))
	})
	return ids, useless
}

// eui64 writes a system ID, which is given as read, last byte first. Gateways that turn
// it round show it by the address: its first three bytes are those of the EUI-64.
func eui64(b, address []byte) string {
	turned := len(address) == 6 && bytes.HasPrefix(b, address[:3]) && !(b[7] == address[0] && b[6] == address[1] && b[5] == address[2])
	if !turned {
		id, err := format.DecodeSystemID(b)
		if err == nil {
			b = id[:]
		}
	}
	return strings.ToUpper(hex.EncodeToString(b))
}

// unit is one sensor of the payload with what the payload tells of it as a whole.
type unit struct {
	device
	users    map[string]bool                   // whom its values name
	session  *row                              // the latest session start so far
	features *row                              // the CGM feature
	reported map[fhir.Identifier]*devpb.Device // by owner
}

// resource is the Device of the unit. One that has no identity of its own is a device of
// the patient's, or of the source's if there is no patient: it is never shared.
func (c *converter) resource(u *unit, patient fhir.Identifier) *devpb.Device {
	ids, useless := u.identifiers()
	owner := fhir.Identifier{}
	spec := fhir.DeviceSpec{
		Manufacturer: u.manufacturer, Model: u.model, Serial: u.serial, Name: u.name,
		Firmware: u.firmware, Hardware: u.hardware, Software: u.software,
		Identifiers: ids,
	}
	if len(ids) == 0 && u.serial == "" {
		owner = patient
		if patient.IsZero() {
			spec.Part = c.p.Source.Name
		}
	}
	if d, ok := u.reported[owner]; ok {
		return d
	}
	spec.Owner = owner
	if len(ids) == 0 && u.serial == "" {
		c.warnOnce("device", fhir.CodeIncomplete, "", fixDevice, "a sensor has neither identifier nor serial number: it is one for each patient and model")
	}
	if useless {
		c.warnOnce("useless", fhir.CodeValue, "", fixDevice, "an address or system ID that names no device was left out")
	}
	d := fhir.NewDevice(spec)
	u.reported[owner] = d
	c.addDevice(d)
	return d
}

const fixDevice = `send "device":{"systemId":"…"} or its address or serial number, or the characteristics 2A23 to 2A29`
