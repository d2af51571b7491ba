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
`wsxf`                the same documents as XML
`data`                `Plant`: the reports a server has, generated ones and those that a test adds
`stores`              `Table`, `Store`, `Stores`: what a server has beside reports, for tests to change
`odata`               the OData subset: parse, check, evaluate, find the bounds
`listing`             tables by OData
`exchange`            `Request`, `Response`, `Call`, `Route`, `Quirks`
`reports`, `system`,  the routes, one function each, with the stores that they show
`products`, `assets`,
`scim`, `software`,
`rootcause`,
`production`,
`internal`
`selection`           the WATS filter: which reports a statistic is about
`analytics`,          the routes of statistics, reckoned from the reports when asked
`yields`
`traps`               GET routes that change what a server holds
`faults`              `Faults`: what goes wrong, by chance or for single reports
`app`                 `App`: one callable, request to response
`server`              the app on a loopback port
====================  ==============================================================================

Every store is made from a plant and sized by keyword; a server makes those that it isn't given:

    plant = Plant(600)
    app = App(plant, stores=[Assets(plant, count=2500)])
    app.store(Assets).assets.rows()  # the truth
    app.store(Assets).assets.change("7", location="Oslo")
"""
