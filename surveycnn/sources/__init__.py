"""Sources in a window: detection, photometry and stamps; pure functions, arrays in and arrays out.

Second stage of the data flow: windows -> sources -> stamps for the models.
"""
