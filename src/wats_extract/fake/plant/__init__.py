"""The made-up factory: everything that a server knows, computed from a seed.

============  =======================================================================================
module        contents
============  =======================================================================================
`clock`       the work calendar: report number to time and back, and the time formats of WATS
`programs`    products, processes and test programs
`steps`       step trees as compiled templates, rendered to JSON
`scenario`    the events of each production lot: tests, failures, retests, repairs
`documents`   header rows and WSJF documents of generated reports, as JSON text
`wsxf`        WSJF documents converted to XML
`data`        `Plant`: all reports of a server, generated on demand, or added and changed by tests
`stores`      `Table`, `Store`, `Stores`: all tables other than the reports
============  =======================================================================================
"""
