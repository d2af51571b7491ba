"""The embedded WATS server, for demos, tests and benchmarks.

It imports nothing else of this package: tests against it would otherwise prove only that we agree with
ourselves.

====================  ==============================================================================
module                holds
====================  ==============================================================================
`clock`               the work calendar: report number to time and back, WATS's ways to write a time
`story`               what happens at the plant: products, stations, units, failures, retests, repairs
`steps`               the test programs: step trees as templates
`documents`           header rows and WSJF documents of generated reports, as JSON text
`data`                `Plant`: the reports a server has, generated ones and those that a test adds
`odata`               the OData subset: parse, check, evaluate, find the bounds
`exchange`            `Request`, `Response`, `Call`, `Route`, `Quirks`
`reports`, `system`   the routes, one function each
`faults`              `Faults`: what goes wrong, by chance or for single reports
`app`                 `App`: one callable, request to response
`server`              the app on a loopback port
====================  ==============================================================================
"""
