"""Training on labels of a user's: tables of labels, their sources in catalogs, and the stamps that inference has cut of them."""
