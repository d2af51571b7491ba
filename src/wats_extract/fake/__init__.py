"""An embedded WATS server for demos, tests and benchmarks.

It serves the data of a made-up factory over real HTTP, and covers the public WATS API route by route. The
same seed gives the same data on every machine. Faults can be injected into any response. Shapes, caps, orders
and error messages follow the vendor's specification and captures of real servers. If neither settles a
detail, the docstring of the route says that it is assumed.

This package imports nothing else from `wats_extract`: tests against shared code would only compare that code
with itself. Within `wats_extract`, only the command `demo-server` and the source `url: demo` may import it.
import-linter enforces both rules.

=============  ==========================================================================================
module         contents
=============  ==========================================================================================
`app`          `App`: the server as one callable, request to response; tokens, rate limit, request log
`server`       `serve`: an `App` on a loopback port, over HTTP/1.1
`embedded`     `serving`: the server for the source `url: demo`
`exchange`     `Request`, `Response`, `Call`, `Route`, and `Quirks`: how servers differ
`faults`       `Faults`: errors, broken transfers and broken reports to inject
`odata`        the OData subset of WATS: parse, check and evaluate
`listing`      `Listing`: routes that list a table by OData
`selection`    `Selection`: the WATS filter, which selects the reports of a statistic
`routes/`      one file per domain: its route functions, and the tables that they serve
`plant/`       the made-up factory: its reports and its other tables
=============  ==========================================================================================

To add a route, write a function from `Call` to `Response` in the file of its domain in `routes/`, and list it
in that file's `ROUTES`. To add a file, list it in `_DOMAINS` in `app`.

Each domain keeps its tables in a `Store`, which is built from the plant and sized by keyword. The app creates
every store that it is not given. Tests read a store as the ground truth, and change it::

    plant = Plant(600)
    app = App(plant, stores=[Assets(plant, count=2500)])
    app.store(Assets).assets.rows()
    app.store(Assets).assets.change("7", location="Oslo")
"""
