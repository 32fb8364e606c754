package dexcomclarity

// kind is what a row tells of.
type kind int

const (
	unknown     kind = iota
	egv              // a reading of the sensor: estimated glucose value
	calibration      // a value from a blood glucose meter, entered to calibrate the sensor
	carbs
	insulin
	exercise
	health
	note
	person            // name or date of birth
	patientIdentifier // the id of the patient at the clinic
	deviceInfo
	alert
)

// String names the kind in Reading.Same, so that it never changes.
func (k kind) String() string {
	switch k {
	case egv:
		return "EGV"
	case calibration:
		return "Calibration"
	case carbs:
		return "Carbs"
	}
	return ""
}

// kinds are the words for event types in the languages of Clarity, in the form that
// plain gives them.
var kinds = map[string]kind{
	"egv": egv, "niveles estimados de glucosa": egv, "nivel estimado de glucosa": egv, "valores estimados de glucosa": egv, "valor estimado de glucosa": egv,
	"geschätzter glukosewert": egv, "valeur estimée du glucose": egv, "valeur de glucose estimée": egv, "valore stimato del glucosio": egv,
	"valore del glucosio stimato": egv, "geschatte glucosewaarde": egv, "uppskattat glukosvärde": egv, "estimeret glukoseværdi": egv,
	"calibration": calibration, "kalibrierung": calibration, "étalonnage": calibration, "calibración": calibration, "calibrazione": calibration, "kalibratie": calibration, "kalibrering": calibration, "calibração": calibration,
	"carbs": carbs, "carbohydrates": carbs, "kohlenhydrate": carbs, "glucides": carbs, "carbohidratos": carbs, "hidratos de carbono": carbs, "carboidrati": carbs, "koolhydraten": carbs, "kolhydrater": carbs, "kulhydrater": carbs, "karbohydrater": carbs, "carboidratos": carbs,
	"insulin": insulin, "insuline": insulin, "insulina": insulin,
	"exercise": exercise, "bewegung": exercise, "exercice": exercise, "activité physique": exercise, "ejercicio": exercise, "esercizio": exercise, "attività fisica": exercise, "lichaamsbeweging": exercise, "beweging": exercise, "träning": exercise, "motion": exercise, "exercício": exercise,
	"health": health, "gesundheit": health, "santé": health, "salud": health, "salute": health, "gezondheid": health, "hälsa": health, "sundhed": health, "helse": health, "saúde": health,
	"note": note, "notes": note, "notiz": note, "notizen": note,
	"firstname": person, "first name": person, "vorname": person, "prénom": person, "nombre": person, "nome": person, "voornaam": person, "förnamn": person, "fornavn": person,
	"lastname": person, "last name": person, "nachname": person, "nom": person, "nom de famille": person, "apellido": person, "apellidos": person, "cognome": person, "achternaam": person, "efternamn": person, "efternavn": person, "etternavn": person, "sobrenome": person, "apelido": person,
	"dateofbirth": person, "date of birth": person, "geburtsdatum": person, "date de naissance": person, "fecha de nacimiento": person, "data di nascita": person, "geboortedatum": person, "födelsedatum": person, "fødselsdato": person, "fødselsdag": person, "data de nascimento": person,
	"patientidentifier": patientIdentifier, "patient identifier": patientIdentifier, "patient id": patientIdentifier, "patienten id": patientIdentifier,
	"device": deviceInfo, "gerät": deviceInfo, "appareil": deviceInfo, "dispositif": deviceInfo, "dispositivo": deviceInfo, "apparaat": deviceInfo, "enhet": deviceInfo, "enhed": deviceInfo,
	"alert": alert, "alarm": alert, "warnung": alert, "alerte": alert, "alarme": alert, "alerta": alert, "alarma": alert, "avviso": alert, "allarme": alert, "waarschuwing": alert, "varning": alert, "larm": alert, "advarsel": alert, "varsel": alert,
}

// edges are the words for a glucose value that the sensor cannot measure any more.
var edges = map[string]byte{
	"low": '<', "niedrig": '<', "tief": '<', "bas": '<', "bajo": '<', "basso": '<', "laag": '<', "låg": '<', "lågt": '<', "lav": '<', "lavt": '<', "baixo": '<',
	"high": '>', "hoch": '>', "haut": '>', "élevé": '>', "alto": '>', "hoog": '>', "hög": '>', "högt": '>', "høj": '>', "højt": '>', "høy": '>', "høyt": '>',
}

// The range of the sensors, by the unit of the export.
var limits = map[string]map[byte]string{
	"mg/dL":  {'<': "40", '>': "400"},
	"mmol/L": {'<': "2.2", '>': "22.2"},
}
