// The steps of a usual application with fhir-kit-client, against the server at argv[2].
// It ends with 1 at the first wrong answer.
import { Client } from 'fhir-kit-client';

const baseUrl = process.argv[2];
const client = new Client({ baseUrl });
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
    if (e.response) console.log(JSON.stringify(e.response.data));
    process.exit(1);
  }
  console.log(`ok ${name}`);
}

// refused expects an error of this status, told by an OperationOutcome.
async function refused(what, status, ask) {
  let answer;
  try {
    answer = await ask();
  } catch (e) {
    if (!e.response) throw e;
    expect(`${what}: status`, e.response.status, status);
    expect(`${what}: body`, e.response.data?.resourceType, 'OperationOutcome');
    expect(`${what}: severity`, ['error', 'fatal'].includes(e.response.data.issue[0].severity), true);
    return;
  }
  throw new Error(`${what}: expected ${status}, got ${Client.httpFor(answer).response.status}`);
}

const status = (answer) => Client.httpFor(answer).response.status;
const header = (answer, name) => Client.httpFor(answer).response.headers.get(name);

const patient = (number, family) => ({
  resourceType: 'Patient',
  identifier: [{ system: mrn, value: number }],
  name: [{ family, given: ['Ada', 'Zoë'] }],
  birthDate: '1970-03-05',
});

const heartRate = (subject, minute) => ({
  resourceType: 'Observation',
  status: 'final',
  category: [{ coding: [{ system: 'http://terminology.hl7.org/CodeSystem/observation-category', code: 'vital-signs' }] }],
  code: { coding: [{ system: 'http://loinc.org', code: '8867-4' }] },
  subject: { reference: subject },
  effectiveDateTime: `2026-05-01T12:${String(minute).padStart(2, '0')}:00Z`,
  valueQuantity: { value: 60 + minute, unit: 'beats/minute', system: 'http://unitsofmeasure.org', code: '/min' },
});

// all follows the next links and gives the resources of all pages.
async function all(bundle) {
  const found = [];
  for (let pages = 1; bundle; pages++) {
    expect('type of a page', bundle.type, 'searchset');
    if (pages > observations + 1) throw new Error('the pages do not end');
    found.push(...(bundle.entry ?? []).filter((e) => e.search.mode === 'match').map((e) => e.resource));
    bundle = await client.nextPage({ bundle });
  }
  return found;
}

let ada;

await step('capabilities', async () => {
  const statement = await client.capabilityStatement();
  expect('fhirVersion', statement.fhirVersion, '4.0.1');
});

await step('create', async () => {
  ada = await client.create({ resourceType: 'Patient', body: patient('kit-1', 'Kit') });
  expect('status', status(ada), 201);
  expect('version', ada.meta.versionId, '1');
  expect('ETag', header(ada, 'etag'), 'W/"1"');
  expect('Location', header(ada, 'location'), `${baseUrl}/Patient/${ada.id}/_history/1`);
});

await step('read', async () => {
  const read = await client.read({ resourceType: 'Patient', id: ada.id });
  expect('the patient', read, ada);
  expect('the version', await client.vread({ resourceType: 'Patient', id: ada.id, version: '1' }), ada);
  expect('a resolved reference', await client.resolve({ reference: `Patient/${ada.id}` }), ada);
});

let bob;

await step('transaction with urn:uuid references', async () => {
  const urn = 'urn:uuid:5b0cf5a4-8a77-4f57-9c39-6f1c3a1b2c01';
  const answer = await client.transaction({
    body: {
      resourceType: 'Bundle',
      type: 'transaction',
      entry: [
        ...Array.from({ length: observations }, (_, i) => ({ resource: heartRate(urn, i), request: { method: 'POST', url: 'Observation' } })),
        { fullUrl: urn, resource: patient('kit-2', 'Transaction'), request: { method: 'POST', url: 'Patient' } },
      ],
    },
  });
  expect('type', answer.type, 'transaction-response');
  expect('statuses', answer.entry.map((e) => e.response.status.slice(0, 3)), Array(observations + 1).fill('201'));
  bob = answer.entry.at(-1).response.location.match(/Patient\/([^/]+)/)[1];
  const read = await client.read({ resourceType: 'Observation', id: answer.entry[0].response.location.match(/Observation\/([^/]+)/)[1] });
  expect('subject', read.subject.reference, `Patient/${bob}`);
});

await step('a transaction with a wrong entry does nothing', async () => {
  await refused('the transaction', 400, () =>
    client.transaction({
      body: {
        resourceType: 'Bundle',
        type: 'transaction',
        entry: [
          { resource: patient('kit-3', 'Nobody'), request: { method: 'POST', url: 'Patient' } },
          { resource: patient('kit-4', 'Nobody'), request: { method: 'POST', url: 'Observation' } },
        ],
      },
    }));
  const found = await client.search({ resourceType: 'Patient', searchParams: { family: 'Nobody' } });
  expect('patients', (found.entry ?? []).length, 0);
});

await step('search with paging to the end', async () => {
  const searchParams = { patient: bob, code: 'http://loinc.org|8867-4', date: ['ge2026-05-01', 'lt2026-05-02'], _sort: '-date', _count: 10, _total: 'accurate' };
  const want = Array.from({ length: observations }, (_, i) => 60 + observations - 1 - i);
  for (const postSearch of [false, true]) {
    const first = await client.search({ resourceType: 'Observation', searchParams, options: { postSearch } });
    expect('total', first.total, observations);
    expect('entries of a page', first.entry.length, 10);
    expect('values', (await all(first)).map((o) => o.valueQuantity.value), want);
  }
  const compartment = await client.search({ resourceType: 'Observation', compartment: { resourceType: 'Patient', id: bob }, searchParams: { _count: 7 } });
  expect('in the compartment', (await all(compartment)).length, observations);
  const included = await client.search({ resourceType: 'Observation', searchParams: { patient: bob, _include: 'Observation:subject', _count: 1 } });
  expect('included', included.entry.map((e) => `${e.resource.resourceType} ${e.search.mode}`), ['Observation match', 'Patient include']);
});

await step('JSON Patch', async () => {
  const patched = await client.patch({
    resourceType: 'Patient',
    id: ada.id,
    jsonPatch: [{ op: 'test', path: '/name/0/family', value: 'Kit' }, { op: 'replace', path: '/name/0/family', value: 'Patched' }, { op: 'add', path: '/gender', value: 'female' }],
  });
  expect('status', status(patched), 200);
  expect('family', patched.name[0].family, 'Patched');
  expect('version', patched.meta.versionId, '2');
  await refused('a test that fails', 409, () =>
    client.patch({ resourceType: 'Patient', id: ada.id, jsonPatch: [{ op: 'test', path: '/name/0/family', value: 'Kit' }] }));
});

await step('update with If-Match', async () => {
  const body = { ...(await client.read({ resourceType: 'Patient', id: ada.id })), active: true };
  const updated = await client.update({ resourceType: 'Patient', id: ada.id, body, options: { headers: { 'If-Match': 'W/"2"' } } });
  expect('version', updated.meta.versionId, '3');
  await refused('a stale version', 412, () =>
    client.update({ resourceType: 'Patient', id: ada.id, body: { ...body, active: false }, options: { headers: { 'If-Match': 'W/"2"' } } }));
  expect('the patient', (await client.read({ resourceType: 'Patient', id: ada.id })).active, true);
});

await step('history', async () => {
  const history = await client.history({ resourceType: 'Patient', id: ada.id });
  expect('type', history.type, 'history');
  expect('versions', history.entry.map((e) => e.resource.meta.versionId), ['3', '2', '1']);
  expect('types', (await client.typeHistory({ resourceType: 'Patient' })).type, 'history');
  expect('system', (await client.systemHistory()).type, 'history');
});

await step('conditional create twice gives one', async () => {
  const ask = () => client.create({ resourceType: 'Patient', body: patient('kit-5', 'Once'), options: { headers: { 'If-None-Exist': `identifier=${mrn}|kit-5` } } });
  const first = await ask();
  const second = await ask();
  expect('statuses', [status(first), status(second)], [201, 200]);
  expect('id', second.id, first.id);
  const found = await client.search({ resourceType: 'Patient', searchParams: { identifier: `${mrn}|kit-5`, _total: 'accurate' } });
  expect('total', found.total, 1);
});

await step('conditional update', async () => {
  const ask = (family) => client.update({ resourceType: 'Patient', searchParams: { identifier: `${mrn}|kit-6` }, body: patient('kit-6', family) });
  const first = await ask('Before');
  const second = await ask('After');
  expect('statuses', [status(first), status(second)], [201, 200]);
  expect('id and version', [second.id, second.meta.versionId], [first.id, '2']);
});

await step('delete, then 410', async () => {
  await client.delete({ resourceType: 'Patient', id: ada.id });
  await refused('a deleted patient', 410, () => client.read({ resourceType: 'Patient', id: ada.id }));
  expect('an old version', (await client.vread({ resourceType: 'Patient', id: ada.id, version: '1' })).name[0].family, 'Kit');
  expect('history', (await client.history({ resourceType: 'Patient', id: ada.id })).entry.map((e) => e.request.method), ['DELETE', 'PUT', 'PUT', 'PUT']);
  const found = await client.search({ resourceType: 'Patient', searchParams: { identifier: `${mrn}|kit-1`, _total: 'accurate' } });
  expect('total', found.total, 0);
});

await step('errors', async () => {
  await refused('no such patient', 404, () => client.read({ resourceType: 'Patient', id: 'nobody' }));
  await refused('no such type', 404, () => client.read({ resourceType: 'Patiend', id: 'nobody' }));
  await refused('an element that is not in FHIR', 400, () => client.create({ resourceType: 'Patient', body: { resourceType: 'Patient', nickname: 'Ada' } }));
  await refused('no JSON', 400, () => client.create({ resourceType: 'Patient', body: '{"resourceType":' }));
  await refused('a value that is no date', 400, () => client.search({ resourceType: 'Patient', searchParams: { birthdate: 'yesterday' } }));
  await refused('an unknown parameter of a strict search', 400, () =>
    client.search({ resourceType: 'Patient', searchParams: { nickname: 'Ada' }, options: { headers: { Prefer: 'handling=strict' } } }));
  await refused('an unknown operation', 404, () => client.operation({ name: '$no-such-operation', resourceType: 'Patient', method: 'GET' }));
});
