// The steps of a usual application with fhirclient, the client of SMART on FHIR, against the
// server at argv[2]. It ends with 1 at the first wrong answer.
import smart from 'fhirclient';

const baseUrl = process.argv[2];
const client = new smart.FhirClient(baseUrl);
const mrn = 'https://hospital.example/mrn';
const observations = 25;

function expect(what, got, want) {
  if (JSON.stringify(got) !== JSON.stringify(want)) {
    throw new Error(`${what}: expected ${JSON.stringify(want)}, got ${JSON.stringify(got)}`);
  }
}

async function step(name, run) {
  try {
    await run();
  } catch (e) {
    console.log(`FAIL ${name}: ${e.message}`);
    process.exit(1);
  }
  console.log(`ok ${name}`);
}

// refused expects an error of this status, told by an OperationOutcome.
async function refused(what, status, ask) {
  try {
    await ask();
  } catch (e) {
    if (!e.status) throw e;
    expect(`${what}: status`, e.status, status);
    expect(`${what}: body`, /"resourceType": "OperationOutcome"/.test(e.message), true);
    return;
  }
  throw new Error(`${what}: expected ${status}, got an answer`);
}

const patient = (number, family) => ({
  resourceType: 'Patient',
  identifier: [{ system: mrn, value: number }],
  name: [{ family }],
});

const heartRate = (subject, minute) => ({
  resourceType: 'Observation',
  status: 'final',
  category: [{ coding: [{ system: 'http://terminology.hl7.org/CodeSystem/observation-category', code: 'vital-signs' }] }],
  code: { coding: [{ system: 'http://loinc.org', code: '8867-4' }] },
  subject: { reference: subject },
  effectiveDateTime: `2026-05-02T12:${String(minute).padStart(2, '0')}:00Z`,
  valueQuantity: { value: 60 + minute, unit: 'beats/minute', system: 'http://unitsofmeasure.org', code: '/min' },
});

async function gather(things) {
  const all = [];
  for await (const thing of things) {
    if (all.push(thing) > 10 * observations) throw new Error('the pages do not end');
  }
  return all;
}

let ada;

await step('capabilities', async () => {
  expect('release', await client.getFhirRelease(), 4);
});

await step('create', async () => {
  const { body, response } = await client.create(patient('smart-1', 'Smart'), { includeResponse: true });
  ada = body;
  expect('status', response.status, 201);
  expect('version', ada.meta.versionId, '1');
  expect('Location', response.headers.get('location'), `${baseUrl}/Patient/${ada.id}/_history/1`);
  // Without a body in the answer the client asks for the resource at Location.
  const brief = await client.create(patient('smart-2', 'Brief'), { headers: { 'content-type': 'application/fhir+json', Prefer: 'return=minimal' } });
  expect('found at Location', brief.name, [{ family: 'Brief' }]);
});

await step('read', async () => {
  expect('the patient', await client.fhirRequest(`Patient/${ada.id}`), ada);
  expect('the version', await client.fhirRequest(`Patient/${ada.id}/_history/1`), ada);
});

let bob;

await step('transaction with urn:uuid references', async () => {
  const urn = 'urn:uuid:5b0cf5a4-8a77-4f57-9c39-6f1c3a1b2c02';
  const answer = await client.fhirRequest('', {
    method: 'POST',
    headers: { 'content-type': 'application/fhir+json' },
    body: JSON.stringify({
      resourceType: 'Bundle',
      type: 'transaction',
      entry: [
        { fullUrl: urn, resource: patient('smart-3', 'Transaction'), request: { method: 'POST', url: 'Patient', ifNoneExist: `identifier=${mrn}|smart-3` } },
        ...Array.from({ length: observations }, (_, i) => ({ resource: heartRate(urn, i), request: { method: 'POST', url: 'Observation' } })),
      ],
    }),
  });
  expect('type', answer.type, 'transaction-response');
  expect('statuses', answer.entry.map((e) => e.response.status.slice(0, 3)), Array(observations + 1).fill('201'));
  bob = answer.entry[0].response.location.match(/Patient\/([^/]+)/)[1];
});

await step('search with paging to the end', async () => {
  const query = `Observation?subject=Patient/${bob}&code=8867-4&_sort=date&_count=10`;
  expect('entries of each page', (await gather(client.pages(query))).map((p) => p.entry.length), [10, 10, 5]);
  const found = await gather(client.resources(query));
  expect('values', found.map((o) => o.valueQuantity.value), Array.from({ length: observations }, (_, i) => 60 + i));
  const references = await client.getReferences(found[0], ['subject']);
  expect('the subject', references[`Patient/${bob}`].name, [{ family: 'Transaction' }]);
});

await step('JSON Patch', async () => {
  const patched = await client.patch(`Patient/${ada.id}`, [{ op: 'replace', path: '/name/0/family', value: 'Patched' }]);
  expect('family', patched.name, [{ family: 'Patched' }]);
  expect('version', patched.meta.versionId, '2');
  await refused('a path that is not there', 422, () => client.patch(`Patient/${ada.id}`, [{ op: 'remove', path: '/photo/0' }]));
});

await step('update with If-Match', async () => {
  const next = { ...(await client.fhirRequest(`Patient/${ada.id}`)), active: true };
  const headers = { 'content-type': 'application/fhir+json', 'If-Match': 'W/"2"' };
  expect('version', (await client.update(next, { headers })).meta.versionId, '3');
  await refused('a stale version', 412, () => client.update({ ...next, active: false }, { headers }));
  expect('the patient', (await client.fhirRequest(`Patient/${ada.id}`)).active, true);
});

await step('history', async () => {
  const versions = await gather(client.resources(`Patient/${ada.id}/_history?_count=2`));
  expect('versions', versions.map((r) => r.meta.versionId), ['3', '2', '1']);
});

await step('conditional create twice gives one', async () => {
  const ask = () => client.create(patient('smart-4', 'Once'), { includeResponse: true, headers: { 'content-type': 'application/fhir+json', 'If-None-Exist': `identifier=${mrn}|smart-4` } });
  const first = await ask();
  const second = await ask();
  expect('statuses', [first.response.status, second.response.status], [201, 200]);
  expect('id', second.body.id, first.body.id);
  expect('patients', (await gather(client.resources(`Patient?identifier=${mrn}|smart-4`))).length, 1);
});

await step('delete, then 410', async () => {
  await client.delete(`Patient/${ada.id}`);
  await refused('a deleted patient', 410, () => client.fhirRequest(`Patient/${ada.id}`));
  expect('patients', (await gather(client.resources(`Patient?identifier=${mrn}|smart-1`))).length, 0);
});

await step('errors', async () => {
  await refused('no such patient', 404, () => client.fhirRequest('Patient/nobody'));
  await refused('no such type', 404, () => client.fhirRequest('Patiend/nobody'));
  await refused('an element that is not in FHIR', 400, () => client.create({ resourceType: 'Patient', nickname: 'Ada' }));
  await refused('a value that is no date', 400, () => client.fhirRequest('Patient?birthdate=yesterday'));
});
