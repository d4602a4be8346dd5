"""A survey under random kills: is its catalog the one that a quiet run gives, every time?"""
