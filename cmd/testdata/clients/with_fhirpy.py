"""The steps of a usual application with fhirpy, against the server at argv[1].

It ends with 1 at the first wrong answer.
"""

import sys

from fhirpy import SyncFHIRClient
from fhirpy.base.exceptions import MultipleResourcesFound, OperationOutcome, ResourceNotFound

BASE = sys.argv[1]
MRN = "https://hospital.example/mrn"
OBSERVATIONS = 25

client = SyncFHIRClient(BASE)


def expect(what, got, want):
    if got != want:
        raise AssertionError(f"{what}: expected {want!r}, got {got!r}")


def refused(what, error, ask):
    """Expects this error of fhirpy, with an OperationOutcome."""
    try:
        ask()
    except error as e:
        expect(f"{what}: body", "OperationOutcome" in str(e), True)
        return
    raise AssertionError(f"{what}: expected {error.__name__}, got an answer")


def sending(**headers):
    """A client that sends these headers, too."""
    return SyncFHIRClient(BASE, extra_headers={k.replace("_", "-"): v for k, v in headers.items()})


def patient(number, family):
    return {"resourceType": "Patient", "identifier": [{"system": MRN, "value": number}], "name": [{"family": family}]}


def heart_rate(subject, minute):
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": "http://terminology.hl7.org/CodeSystem/observation-category", "code": "vital-signs"}]}],
        "code": {"coding": [{"system": "http://loinc.org", "code": "8867-4"}]},
        "subject": {"reference": subject},
        "effectiveDateTime": f"2026-05-03T12:{minute:02}:00Z",
        "valueQuantity": {"value": 60 + minute, "unit": "beats/minute", "system": "http://unitsofmeasure.org", "code": "/min"},
    }


def create():
    global ada
    ada = client.resource(**patient("fhirpy-1", "Pythonic"), resource_type="Patient")
    ada.save()
    expect("version", ada.meta.versionId, "1")


def read():
    expect("the patient", client.reference("Patient", ada.id).to_resource().serialize(), ada.serialize())
    expect("the patient found by id", client.resources("Patient").search(_id=ada.id).get().serialize(), ada.serialize())
    ada.refresh()  # asks with If-None-Match
    expect("version", ada.meta.versionId, "1")


def transaction():
    global bob
    urn = "urn:uuid:5b0cf5a4-8a77-4f57-9c39-6f1c3a1b2c03"
    entries = [{"fullUrl": urn, "resource": patient("fhirpy-2", "Transaction"), "request": {"method": "POST", "url": "Patient"}}]
    entries += [{"resource": heart_rate(urn, i), "request": {"method": "POST", "url": "Observation"}} for i in range(OBSERVATIONS)]
    answer = client.execute("", data={"resourceType": "Bundle", "type": "transaction", "entry": entries})
    expect("type", answer.type, "transaction-response")
    expect("statuses", {e.response.status[:3] for e in answer.entry}, {"201"})
    bob = client.resources("Patient").search(identifier=f"{MRN}|fhirpy-2").get()


def search():
    found = client.resources("Observation").search(patient=bob.id, code="http://loinc.org|8867-4", date__ge="2026-05-03")
    expect("count", found.count(), OBSERVATIONS)
    for size in (1, 10, 100):
        values = [o.valueQuantity.value for o in found.sort("-date").limit(size)]
        expect(f"values, {size} a page", values, [60 + OBSERVATIONS - 1 - i for i in range(OBSERVATIONS)])
    expect("the subject", found.first().subject.to_resource().name[0].family, "Transaction")
    raw = found.limit(1).include("Observation", "subject").fetch_raw()
    expect("included", [e.search.mode for e in raw.entry], ["match", "include"])
    expect("by a chain", len(client.resources("Observation").search(patient__Patient__identifier=f"{MRN}|fhirpy-2").fetch_all()), OBSERVATIONS)


def json_patch():
    patched = sending(Content_Type="application/json-patch+json").execute(
        f"Patient/{ada.id}", method="patch", data=[{"op": "replace", "path": "/name/0/family", "value": "Patched"}]
    )
    expect("family", patched.name[0].family, "Patched")
    ada.refresh()
    expect("version", ada.meta.versionId, "2")
    # What fhirpy itself sends is no patch that FHIR R4 knows.
    refused("a merge patch", OperationOutcome, lambda: client.patch("Patient", ada.id, active=True))
    expect("the patient", "active" in client.get("Patient", ada.id), False)


def update():
    stated = sending(If_Match='W/"2"')
    stated.resource("Patient", **{**ada.serialize(), "active": True}).save()
    refused("a stale version", MultipleResourcesFound, stated.resource("Patient", **{**ada.serialize(), "active": False}).save)  # its word for 412
    ada.refresh()
    expect("active and version", (ada.active, ada.meta.versionId), (True, "3"))


def history():
    versions = client.execute(f"Patient/{ada.id}/_history", method="get")
    expect("versions", [e.resource.meta.versionId for e in versions.entry], ["3", "2", "1"])


def conditional_create():
    condition = f"identifier={MRN}|fhirpy-3"
    first, second = (sending(If_None_Exist=condition).resource("Patient", **patient("fhirpy-3", "Once")).save() for _ in range(2))
    expect("id", second.id, first.id)
    expect("patients", client.resources("Patient").search(identifier=f"{MRN}|fhirpy-3").count(), 1)


def get_or_create():
    wanted = client.resources("Patient").search(identifier=f"{MRN}|fhirpy-6")
    first, created = wanted.get_or_create(client.resource("Patient", **patient("fhirpy-6", "Once")))
    expect("created", created, True)
    second, created = wanted.get_or_create(client.resource("Patient", **patient("fhirpy-6", "Once")))
    expect("created and id", (created, second.id), (False, first.id))
    expect("patients", wanted.count(), 1)


def conditional_update():
    named = client.resources("Patient").search(identifier=f"{MRN}|fhirpy-4")
    first, created = named.update(client.resource("Patient", **patient("fhirpy-4", "Before")))
    expect("created", created, True)
    second, created = named.update(client.resource("Patient", **patient("fhirpy-4", "After")))
    expect("created, id and version", (created, second.id, second.meta.versionId), (False, first.id, "2"))
    named.delete()
    expect("patients", named.count(), 0)


def validation():
    expect("a right patient", client.resource("Patient", **patient("fhirpy-5", "Right")).is_valid(), True)
    expect("a wrong patient", client.resource("Patient", nickname="Ada").is_valid(), False)


def delete():
    ada.delete()
    refused("a deleted patient", ResourceNotFound, lambda: client.get("Patient", ada.id))
    gone = client.execute(f"Patient/{ada.id}/_history", method="get")
    expect("newest version", gone.entry[0].request.method, "DELETE")
    expect("patients", client.resources("Patient").search(identifier=f"{MRN}|fhirpy-1").count(), 0)


def errors():
    refused("no such patient", ResourceNotFound, lambda: client.get("Patient", "nobody"))
    refused("no such type", ResourceNotFound, lambda: client.get("Patiend", "nobody"))
    refused("an element that is not in FHIR", OperationOutcome, lambda: client.create(client.resource("Patient", nickname="Ada")))
    refused("a value that is no date", OperationOutcome, lambda: client.resources("Patient").search(birthdate="yesterday").fetch())


for step in (create, read, transaction, search, json_patch, update, history, conditional_create, get_or_create, conditional_update, validation, delete, errors):
    try:
        step()
    except Exception as e:
        print(f"FAIL {step.__name__}: {type(e).__name__}: {e}")
        sys.exit(1)
    print(f"ok {step.__name__}", flush=True)
